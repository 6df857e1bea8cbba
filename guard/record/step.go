package record

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Step is one reading of the loop: all that policy.Decide was given, but for the
// state, and what it returned. Its slices are shared with other steps and must not be
// modified.
type Step struct {
	Now       time.Duration // boot clock
	Snapshot  policy.Snapshot
	Config    *policy.Config // in force; the same pointer while it is the same
	Decisions []policy.Decision
	// Reloaded says that the policy was put in force just before: State.Reconsider was
	// called.
	Reloaded bool
	// Gap is why readings are missing before this one, empty when none are.
	Gap string
}

// Lost is how many connections counters say were lost, each once: one without a source
// port or with a clash counts as dropped and as failed, one in too long a chain as
// failed only (see the policy's losses).
func Lost(c policy.Counters) uint64 {
	chains := min(c.ChainTooLong, c.InsertFailed)
	both := min(c.Drop, c.InsertFailed-chains)
	return c.InsertFailed + c.Drop - both + c.EarlyDrop
}
