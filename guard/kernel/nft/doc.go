// Package nft is the guardian's one nf_tables table, conntrack_guardian, of the
// ip, ip6 or inet family.
// It never lists or reads a table of anybody else.
//
// Invariants:
//
//   - The table drops nothing. Its chains accept, and a set that is full lets
//     the packet pass.
//   - Where the kernel knows the OWNER flag (5.12), the table belongs to the
//     netlink socket that made it: it survives other people's flush of the
//     ruleset, nobody else can change it, and it goes with the socket, be the
//     process closed or killed. Elsewhere it is a plain table, and one that a
//     dead guardian left is replaced.
//   - Every call has a deadline.
//
// A netlink socket stays in the network namespace that it was made in, so the
// table is that of the namespace of the thread that calls Install.
//
// A rule that asks for the state of a packet makes the kernel track all that its
// table's family is about (nft_ct_get_init). So the table is of the family that it
// is to count, and counts only what is tracked anyway; that is for the caller to
// know.
package nft
