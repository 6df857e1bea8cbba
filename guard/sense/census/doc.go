// Package census counts who and what fills the connection-tracking table, in one
// pass over its entries and in bounded memory.
//
// Invariants:
//
//   - A census takes the same 2.4 MB for any table, and allocates nothing for an
//     entry.
//   - A figure says how uncertain it is. Low and High are never inverted and never
//     outside of the table; where nothing is uncertain all three are equal.
//   - A table that was resized under the walk gives no report.
//   - It changes nothing, but that a dump makes the kernel remove expired entries.
package census
