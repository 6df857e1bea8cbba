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
		g.judge(d, now)
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
	moved, err := g.Actions.Undo(d.Change, d.Reason)
	for _, c := range moved {
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
	moved, err := g.Actions.Yield(d.Change, d.Reason)
	for _, c := range moved {
		if c.ID == d.Change && c.State == ledger.Yielded {
			g.reportYielded(d)
		}
	}
	g.remember(d, err, now)
}

func (g *Guard) judge(d policy.Decision, now time.Duration) {
	if now < g.failed[attempted(d)].retry {
		return
	}
	_, err := g.Actions.Judge(d.Change, string(d.Outcome))
	if err == nil {
		g.reportJudged(d)
	}
	g.remember(d, err, now)
}

func attempted(d policy.Decision) attempt { return attempt{d.Verb, d.Measure, d.Change} }

// remember keeps what went wrong until it goes right, so that it is tried again
// later and reported once. Not reported here are a stale change, which the next
// reading explains, and a ledger that can't be written, which is reported as such.
func (g *Guard) remember(d policy.Decision, err error, now time.Duration) {
	before := g.failed[attempted(d)]
	delete(g.failed, attempted(d))
	if err == nil {
		return
	}
	f := failure{retry: now + retryEvery}
	if !errors.Is(err, actions.ErrStale) && g.Actions.Err() == nil {
		f.reason = err.Error()
	}
	if errors.Is(err, actions.ErrUnsafe) {
		f.reason = "unsafe" // the error's text counts entries and differs each time
	}
	if f.reason != "" && f.reason != before.reason {
		g.reportFailed(d, d.Change, err)
	}
	g.failed[attempted(d)] = f
}
