package guard

import (
	"errors"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// carryOut does what was decided and reports what came of it.
func (g *Guard) carryOut(d policy.Decision, now time.Duration) {
	switch d.Verb {
	case policy.Do:
		g.do(d, now)
	case policy.Undo:
		g.undo(d, now)
	case policy.Yield:
		g.yield(d, now)
	case policy.Judge:
		g.judge(d)
	default:
		g.reportDecision(d)
	}
}

func (g *Guard) do(d policy.Decision, now time.Duration) {
	change, err := plan(d, g.Namespace)
	if err == nil {
		change, err = g.Actions.Do(change)
	}
	switch {
	case errors.Is(err, actions.ErrStale): // the next reading sees what has changed
	case err == nil && change.State == ledger.Applied:
		g.reportDone(d, change)
	case err == nil:
		g.reportFailed(d, change.ID, errors.New(change.Note))
	}
	g.remember(d, err, now)
}

func (g *Guard) undo(d policy.Decision, now time.Duration) {
	if now < g.failed[attempted(d)].retry {
		return
	}
	undone, err := g.Actions.Undo(d.Change, d.Reason)
	for _, c := range undone {
		if !c.State.Open() {
			g.reportEnded(d, c)
		}
	}
	g.remember(d, err, now)
}

func (g *Guard) yield(d policy.Decision, now time.Duration) {
	if now < g.failed[attempted(d)].retry {
		return
	}
	yielded, err := g.Actions.Yield(d.Change, d.Reason)
	if len(yielded) > 0 {
		g.reportYielded(d)
	}
	g.remember(d, err, now)
}

func attempted(d policy.Decision) attempt { return attempt{d.Measure, d.Change} }

// remember keeps what went wrong until it goes right, so that it is tried again
// later and reported once. A stale or an unsafe change is not reported: the
// table is not what it was at the reading, and the next one will tell.
func (g *Guard) remember(d policy.Decision, err error, now time.Duration) {
	if err == nil {
		delete(g.failed, attempted(d))
		return
	}
	f := failure{retry: now + retryEvery}
	if !errors.Is(err, actions.ErrUnsafe) && !errors.Is(err, actions.ErrStale) {
		f.reason = err.Error()
	}
	if f.reason != "" && f.reason != g.failed[attempted(d)].reason {
		g.reportFailed(d, d.Change, err)
	}
	g.failed[attempted(d)] = f
}

func (g *Guard) judge(d policy.Decision) {
	if _, err := g.Actions.Judge(d.Change, string(d.Outcome)); err != nil {
		g.reportFailed(d, d.Change, err)
		return
	}
	g.reportJudged(d)
}
