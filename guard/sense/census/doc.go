// Package census counts who and what fills the connection-tracking table, in one
// pass over its entries and in bounded memory.
package census
