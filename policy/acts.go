package policy

import (
	"fmt"
	"time"
)

// A Tally is how many changes were made in the last hour without an operator's approval,
// and how many may be.
type Tally struct{ Used, Allowed int }

// acts are the tallies of an hour.
type acts struct {
	all Tally
	of  [measures]Tally
}

// Measures are all of them.
var Measures = [measures]Measure{RaiseMax, GrowBuckets, ShortenTimeouts, LimitSource, Bypass}

// Acts is the tally of a measure, or of all where it is empty.
func (st *State) Acts(m Measure) Tally {
	if m == "" {
		return st.acts.all
	}
	return st.acts.of[m.slot()]
}

// actsOf counts what was made in the hour before now. What the kernel refused counts, too:
// it was tried.
func actsOf(s *Snapshot, c *Config, now time.Duration) (a acts) {
	b := &c.ActsPerHour
	a.all.Allowed = b.All
	for i, allowed := range [measures]int{b.RaiseMax, b.GrowBuckets, b.ShortenTimeouts, b.LimitSource, b.Bypass} {
		a.of[i].Allowed = allowed
	}
	for i := range s.Changes {
		if ch := &s.Changes[i]; now-ch.Made < time.Hour && ch.Replaces == 0 {
			a.done(ch.Measure, ch.ApprovedBy)
		}
	}
	return a
}

// done counts one more, unless an operator has approved it.
func (a *acts) done(m Measure, approvedBy string) {
	if approvedBy == "" {
		a.all.Used++
		a.of[m.slot()].Used++
	}
}

// exhausted says why no more may be done of a measure in this hour, empty if it may.
func (a *acts) exhausted(m Measure) string {
	if t := a.of[m.slot()]; t.Used >= t.Allowed {
		return fmt.Sprintf("acts of %s in the last hour: %d, as many as the policy allows", m, t.Used)
	}
	if t := a.all; t.Used >= t.Allowed {
		return fmt.Sprintf("acts in the last hour: %d, as many as the policy allows", t.Used)
	}
	return ""
}
