// Package record is the flight record: what the guardian read, thought and did.
package record

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Step is one reading of the loop: all that policy.Decide was given, but for the
// state, and what it returned.
type Step struct {
	Now       time.Duration // boot clock
	Snapshot  policy.Snapshot
	Config    *policy.Config // in force; the same pointer while it is the same
	Decisions []policy.Decision
}
