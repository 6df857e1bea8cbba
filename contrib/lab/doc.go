// Package lab makes disposable NAT gateways in network namespaces and the
// traffic that troubles them: a client, a gateway that masquerades and a server
// on real veth links, real sockets for the well-behaved clients, packet
// generators for floods, and batched ctnetlink for filling the table.
//
// Invariants:
//
//   - Everything that outlives a process is claimed in a state file before it
//     comes into being: namespaces, directories, the machine's own
//     nf_conntrack_max and nf_conntrack_buckets. So Cleanup can take away what
//     a killed lab left, and never touches a lab that is alive.
//   - nf_conntrack_max is one value for the machine. Whoever changes it holds
//     the lock MaxLock meanwhile, so two labs never mix up their originals.
//   - Nothing is done in the network namespace that the process started in,
//     except writing these two values.
//   - Everything that takes time ends at once when its context does.
//
// It needs root (CAP_NET_ADMIN, and CAP_SYS_ADMIN for namespaces) and no
// programs.
package lab
