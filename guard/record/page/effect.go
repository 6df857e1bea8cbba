package page

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A sight is one reading, and all that was lost until then.
type sight struct {
	at          time.Duration
	lost        uint64
	utilization float64
}

// effects measures what was lost in the window before and after each change.
type effects struct {
	window time.Duration
	recent []sight // of the last window and one before it
	open   []awaited
}

// An awaited effect is one whose window is not over.
type awaited struct {
	change *Change
	made   sight // the newest reading before the change
}

// see takes in a reading.
func (e *effects) see(at time.Duration, s *policy.Snapshot, lost uint64) {
	now := sight{at, lost, s.Utilization()}
	if n := len(e.recent); n > 0 {
		now.lost += e.recent[n-1].lost
	}
	open := e.open[:0]
	for _, a := range e.open {
		a.measure(now)
		if at-a.made.at < e.window && a.change.State == policy.Applied {
			open = append(open, a)
		}
	}
	e.open = open
	for len(e.recent) > 1 && at-e.recent[1].at > e.window {
		e.recent = e.recent[1:]
	}
	e.recent = append(e.recent, now)
}

// begin measures a change that was made between the two newest readings, or before
// the newest; see has not been told of that yet.
func (e *effects) begin(c *Change) {
	if len(e.recent) == 0 {
		return
	}
	first, now := e.recent[0], e.recent[len(e.recent)-1]
	c.Effect = &Effect{Span: e.window.Seconds(), LostBefore: now.lost - first.lost, Before: now.utilization, After: now.utilization}
	e.open = append(e.open, awaited{c, now})
}

func (a *awaited) measure(now sight) {
	a.change.Effect.LostAfter, a.change.Effect.After = now.lost-a.made.lost, now.utilization
}
