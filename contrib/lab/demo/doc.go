// Package demo shows what the guardian is for: the same flood against the same
// gateway twice, without and with the guardian, with well-behaved clients
// counting what they lose.
//
// nf_conntrack_max is lowered for both runs, and a flood of assured entries is
// sent that would reach twice that. Nothing is simulated: the guardian is the
// daemon's own program under its own policy file, which sees and changes the
// same kernel values as on a real gateway.
package demo
