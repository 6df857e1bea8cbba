// Package guard is the loop: it takes a reading, asks the policy, plans the
// changes, has them carried out and reports.
//
// One goroutine owns all state, and a tick is nearly all that it does: what a
// tick changes, the next one sees in its reading. Between two ticks it hears its
// operators (Desk) and takes in another policy; what they want of the policy is
// part of the next reading, so that a record of it decides the same again.
// Whatever takes long goes on beside the loop (errand). Whatever fails leads to doing
// less and saying more: without a reading nothing is decided, without a ledger
// nothing is done, with a bad policy file the last good policy stays in force.
package guard
