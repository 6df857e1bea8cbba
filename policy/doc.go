// Package policy decides. It is pure: given a state, a snapshot, a
// configuration and the time it returns the next state and what to do, and
// nothing else. It reads no clock, opens no file and keeps no hidden state, so
// a recorded incident replayed through it gives the same decisions to the
// letter.
//
// Time here is always the boot clock (CLOCK_BOOTTIME) as a time.Duration since
// boot: it never jumps when somebody sets the wall clock, and it means the same
// thing in two runs of the daemon within one boot.
//
// The way through the package, one file each:
//
//	history.go  the readings of the last seconds: fill rate and losses
//	assess.go   what they say, before anything is decided
//	cause.go    losses and pressure -> a Cause
//	baseline.go the hours of the last week: what is ordinary
//	census.go   who and what fills the table, and when to look
//	pattern.go  a cause, the baseline and a census -> a Pattern
//	evidence.go the numbers behind the two, for people
//	episode.go  hysteresis: when trouble begins and when it is over
//	raisemax.go, growbuckets.go, shortentimeouts.go, limitsource.go, bypass.go
//	            one measure each: when, how far, when undone
//	advice.go   what is wanted: done, advised or observed, and what operators approve
//	acts.go     how often anything may be done in an hour
//	effect.go   did a change help?
//	drift.go    a value of ours that somebody else has changed
//	decide.go   the order in which these are asked
//
// Apart from that, sizing.go and what begins like it advise sizes for good.
package policy
