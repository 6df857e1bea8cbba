// Package nft is the guardian's nf_tables tables: one that counts new connections,
// conntrack_guardian, of the ip, ip6 or inet family, and those that hold leases,
// conntrack_guardian_limits of ip and of ip6 and conntrack_guardian_raw of inet.
// It never lists or reads a table of anybody else.
//
// Invariants:
//
//   - The counting table drops nothing. Its chains accept, and a set that is full
//     lets the packet pass.
//   - What restricts traffic does so only by lookups in timed sets, whose elements are
//     the leases: each ends by itself, in the kernel, if nobody renews it. A table of
//     leases is there as long as it holds one.
//   - Where the kernel knows the OWNER flag (5.12), a table belongs to the
//     netlink socket that made it: it survives other people's flush of the
//     ruleset, nobody else can change it, and it goes with the socket, be the
//     process closed or killed. Elsewhere it is a plain table, and one that a
//     dead guardian left is replaced.
//   - Every call has a deadline.
//
// A netlink socket stays in the network namespace that it was made in, so the
// tables are those of the namespace of the thread that calls Install or OpenLeases.
//
// A rule that asks for the state of a packet makes the kernel track all that its
// table's family is about (nft_ct_get_init). So the counting table is of the family
// that it is to count, limits are in tables of one family each, and what is done
// before tracking asks for no state. That a family is tracked anyway is for the
// caller to know.
package nft
