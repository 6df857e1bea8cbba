package guard

import (
	"errors"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// carryOut does what was decided and reports what came of it. What failed is not
// tried again at once.
func (g *Guard) carryOut(d policy.Decision, now time.Duration) {
	act := map[policy.Verb]func(policy.Decision) error{
		policy.Do: g.do, policy.Undo: g.undo, policy.Yield: g.yield, policy.Judge: g.judge, policy.Prune: g.prune,
	}[d.Verb]
	switch {
	case act == nil:
		g.reportDecision(d)
	case now < g.failed[attempted(d)].retry:
	case d.Verb == policy.Undo && d.Measure == policy.Bypass && g.loosening.away(): // likewise
	case disturbs(d) && !g.haltWalk(errHalted): // the next reading says what is wanted then
	default:
		g.remember(d, act(d), now)
	}
}

func (g *Guard) do(d policy.Decision) error {
	change, err := plan(d, g.Namespace)
	if err == nil {
		change, err = g.Actions.Do(change)
	}
	switch {
	case err != nil:
		g.answerDone(d, change, err)
		return err
	case change.State == ledger.Applied:
		if g.Remember != nil {
			g.Remember()
		}
		g.reportDone(d, change)
		g.loosen(d, change)
		g.answerDone(d, change, nil)
	default:
		err := errors.New(change.Note)
		g.reportFailed(d, change.ID, err)
		g.answerDone(d, change, err)
	}
	return nil
}

func (g *Guard) undo(d policy.Decision) error {
	moved, err := g.Actions.Undo(d.Change, d.Reason)
	for _, c := range moved {
		if !c.State.Open() {
			g.reportEnded(d, c)
		}
	}
	return err
}

func (g *Guard) yield(d policy.Decision) error {
	moved, err := g.Actions.Yield(d.Change, d.Reason)
	for _, c := range moved {
		if c.ID == d.Change && (c.State == ledger.Yielded || len(c.Yielded) > 0) { // or a part of it
			g.reportYielded(d)
		}
	}
	return err
}

func (g *Guard) judge(d policy.Decision) error {
	_, err := g.Actions.Judge(d.Change, string(d.Outcome))
	if err == nil {
		g.reportJudged(d)
	}
	return err
}

func attempted(d policy.Decision) attempt {
	a := attempt{verb: d.Verb, measure: d.Measure, change: d.Change}
	if t := d.Terms; t != nil {
		a.about = t.Source.String() + t.Flow
	}
	return a
}

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
	if errors.Is(err, actions.ErrStale) {
		f.retry = now // the next reading decides on the value that there is
	}
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
