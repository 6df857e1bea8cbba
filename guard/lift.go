package guard

import (
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// liftOne takes one change back that restricts the traffic.
func (g *Guard) liftOne(c ledger.Change, why string) policy.Decision {
	d := policy.Decision{
		Verb: policy.Undo, Measure: policy.Measure(c.Measure), Change: c.ID, Reason: why,
		Episode: c.Episode, Cause: policy.Cause(c.Cause), TimeToFull: policy.Never, Utilization: g.snapshot.Utilization(),
	}
	if p := (policy.Change{Measure: d.Measure}); isLease(c) && recallLease(&p, c, c.Namespace) {
		d.Terms, d.From = &p.Terms, p.After
	}
	return d
}

// liftElsewhere takes back what an earlier run has left in a namespace that is not
// guarded now: the policy does not see it, so nobody else would.
func (g *Guard) liftElsewhere(now time.Duration) {
	for _, c := range slices.Backward(g.restrictions()) {
		if g.elsewhere(c) {
			g.carryOut(g.liftOne(c, "left by a run that guarded another namespace"), now)
		}
	}
}

// restrictions are the changes in force that restrict the traffic, oldest first.
func (g *Guard) restrictions() (open []ledger.Change) {
	if g.NoLedger != nil {
		return nil
	}
	for _, c := range g.Actions.Open() {
		if isShortening(c) || isLease(c) {
			open = append(open, c)
		}
	}
	return open
}

// shortenings are the changes of timeouts in force, oldest first.
func (g *Guard) shortenings() []ledger.Change {
	return slices.DeleteFunc(g.restrictions(), func(c ledger.Change) bool { return !isShortening(c) })
}

func isShortening(c ledger.Change) bool { return c.Measure == string(policy.ShortenTimeouts) }

func isLease(c ledger.Change) bool {
	return c.Measure == string(policy.LimitSource) || c.Measure == string(policy.Bypass)
}

// liftAll takes back all that restricts the traffic: shortened timeouts and leases.
// Nobody would when the daemon has stopped, but for the kernel with leases. Capacity stays.
func (g *Guard) liftAll() {
	if err := g.awaitWalk(errStopping); err != nil {
		g.reportWalk(g.walking.changes[0], err)
	}
	g.awaitLoosen() // before anything is told to come back
	g.awaitPrune()
	for _, c := range slices.Backward(g.restrictions()) {
		d := g.liftOne(c, "the guardian stops")
		g.remember(d, g.undo(d), g.Clock())
	}
}

// forgetWalks closes the record of walks that ended with an earlier run.
func (g *Guard) forgetWalks() {
	for _, c := range g.Actions.Changes() {
		if c.Walk != nil && c.Walk.Running {
			if _, err := g.Actions.Walked(c.ID, ledger.Walk{Note: "the daemon ended before it"}); err != nil {
				g.reportUnsettled(err)
			}
		}
	}
}

// elsewhere reports whether a change is of a namespace that is not guarded now: the
// policy does not see it, so nobody would ever take it back.
func (g *Guard) elsewhere(c ledger.Change) bool { return c.Namespace != g.Namespace }
