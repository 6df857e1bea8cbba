package guard

import (
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// lift takes back what restricts the traffic: shortened timeouts. Capacity stays.
func (g *Guard) lift(why string, of func(ledger.Change) bool) {
	for _, c := range slices.Backward(g.shortenings()) {
		if !of(c) {
			continue
		}
		d := policy.Decision{
			Verb: policy.Undo, Measure: policy.ShortenTimeouts, Change: c.ID, Reason: why,
			Episode: c.Episode, Cause: policy.Cause(c.Cause), TimeToFull: policy.Never, Utilization: g.snapshot.Utilization(),
		}
		g.remember(d, g.undo(d), g.Clock())
	}
}

// shortenings are the changes of timeouts in force, oldest first.
func (g *Guard) shortenings() (open []ledger.Change) {
	if g.NoLedger != nil {
		return nil
	}
	for _, c := range g.Actions.Open() {
		if c.Measure == string(policy.ShortenTimeouts) {
			open = append(open, c)
		}
	}
	return open
}

// liftAll takes back all of it, since nobody would when the daemon has stopped.
func (g *Guard) liftAll() {
	if err := g.haltWalk(errStopping); err != nil {
		g.reportWalk(g.walking.changes[0], err)
	}
	g.lift("the guardian stops", func(ledger.Change) bool { return true })
}

// elsewhere reports whether a change is of a namespace that is not guarded now: the
// policy does not see it, so nobody would ever take it back.
func (g *Guard) elsewhere(c ledger.Change) bool { return c.Namespace != g.Namespace }
