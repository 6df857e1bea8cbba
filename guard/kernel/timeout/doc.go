// Package timeout tells which timeout an entry of the connection-tracking table
// has: its class, which is all entries that take their time from one sysctl.
//
// The kernel says only how much of an entry's time is left, not what it began
// with. What is here follows from protocol, state and status, as the kernel's
// trackers choose (net/netfilter/nf_conntrack_proto_*.c). It does not hold for an
// entry with a timeout of its own: one that is offloaded, has its timeout fixed, or
// got it from a policy of somebody's (nfct_timeout_lookup).
package timeout
