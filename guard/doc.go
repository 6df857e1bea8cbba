// Package guard is the loop: it takes a reading, asks the policy, plans the
// changes, has them carried out and reports.
//
// One goroutine owns all state, and a tick is the only thing it does: what a
// tick changes, the next one sees in its reading. Whatever fails leads to doing
// less and saying more: without a reading nothing is decided, without a ledger
// nothing is done, with a bad policy file the last good policy stays in force.
package guard
