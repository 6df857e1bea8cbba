package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Walk deals with the existing entries of shortened timeouts. It is called on one
// goroutine at a time, which is not the loop's, and returns soon after ctx has ended.
// entries.Walk is the real one.
type Walk func(ctx context.Context, p entries.Plan) (entries.Result, error)

// walking is what the loop knows of the walk over the table.
type walking struct {
	back    chan walked             // from the walk under way, nil when there is none
	changes []int                   // that it is made for, the newest first
	ctx     context.Context         // of the walk under way
	stop    context.CancelCauseFunc // ends it
	ended   time.Duration           // when the last one ended, 0 for never
	failed  time.Duration           // when the last one failed
	why     string                  // as reported, empty when the last one did not fail
}

// walked is what a walk comes back with.
type walked struct {
	entries.Result
	err error
}

// Why a walk is halted, which is no failure.
var (
	errHalted    = errors.New("timeouts are changed again")
	errUnwatched = errors.New("the table can't be read")
	errReloaded  = errors.New("the policy is another now")
	errPaused    = errors.New("an operator wants nothing changed now")
)

// errLost is a walk that was halted and does not end.
var errLost = errors.New("a walk over the table does not come to its end")

// meetWalk takes in what a walk has come to, if it is back.
func (g *Guard) meetWalk() {
	select {
	case back := <-g.walking.back: // never, of a nil channel
		g.endWalk(back)
	default:
	}
}

// walk begins a walk when the policy wants one. There is only one at a time.
func (g *Guard) walk(now time.Duration) {
	w := &g.walking
	if g.Walk == nil || g.unable != "" || w.back != nil || w.why != "" && now-w.failed < retryEvery {
		return
	}
	change, enough := g.state.WantsWalk(&g.snapshot, &g.Config, w.ended, now)
	if change == 0 {
		return
	}
	if err := g.beginWalk(enough, now); err != nil {
		g.reportWalk(change, err)
	}
}

// beginWalk sends a walk out for all changes in force, with the intent on the disk
// first. The plan comes before: it tells what may have been done to entries so far.
func (g *Guard) beginWalk(enough int, now time.Duration) error {
	plan, changes, err := g.planWalk(now)
	if err != nil || len(changes) == 0 {
		return err
	}
	plan.Until = enough
	for _, id := range changes {
		// After a whole walk there is nothing more to intend.
		if c, _ := g.Ledger.Find(id); c.Walk != nil && c.Walk.Done && (c.Walk.Retimes || !plan.Retime) {
			continue
		}
		if _, err := g.Actions.Walking(id, plan.Retime); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancelCause(g.living)
	back := make(chan walked, 1) // so that it never waits for us
	g.walking.back, g.walking.changes, g.walking.ctx, g.walking.stop = back, changes, ctx, stop
	go func() {
		var w walked
		w.Result, w.err = g.Walk(ctx, plan)
		back <- w
	}()
	return nil
}

// planWalk plans a walk, and tells for which changes, the newest first. The newest says
// what a class is walked for.
func (g *Guard) planWalk(now time.Duration) (plan entries.Plan, changes []int, err error) {
	for _, c := range slices.Backward(g.shortenings()) {
		if c.State != ledger.Applied || g.elsewhere(c) {
			continue
		}
		p, err := entries.PlanOf(g.Actions.Changes(), c.ID, g.Ledger.Boot(), now)
		if err != nil {
			return plan, nil, err
		}
		for class := range p.Rules {
			p.Rules[class].New = cmp.Or(plan.Rules[class].New, p.Rules[class].New)
		}
		plan, changes = p, append(changes, c.ID)
	}
	m := &g.Config.ShortenTimeouts
	least := policy.Act
	if newest, _ := g.Ledger.Find(cmp.Or(append(changes, 0)...)); newest.ApprovedBy != "" {
		least = policy.Advise
	}
	wanted := false
	for class := range plan.Rules {
		if !allows(m, timeout.Class(class), plan.Rules[class].New, least) {
			plan.Rules[class].New = 0
		}
		wanted = wanted || plan.Rules[class].New > 0
	}
	if !wanted { // or a walk that does nothing would count as done
		return plan, nil, nil
	}
	plan.Retime, plan.Established, plan.Budget = m.Retime, m.Established(least), m.Budget
	return plan, changes, nil
}

// allows reports whether the policy in force allows entries of a class so short a time:
// that of a change may be older. What an operator has approved takes the mode advise.
func allows(m *policy.ShortenTimeoutsConfig, c timeout.Class, seconds int, least policy.Mode) bool {
	t, known := policy.TimeoutNamed(c.Name())
	return known && m.Floors[t].Mode >= least && time.Duration(seconds)*time.Second >= m.Floors[t].Floor
}

// endWalk records what a walk has come to, with each change what was done for it.
func (g *Guard) endWalk(w walked) {
	changes := g.walking.changes
	why := context.Cause(g.walking.ctx)
	g.walking.stop(nil)
	g.walking.back, g.walking.ended = nil, g.Clock()
	var errs []error
	all := w.Ledger()
	halted := why != nil && !w.Done
	if halted {
		all.Note = why.Error()
	}
	for i, id := range changes {
		part := all
		part.Classes = nil
		for _, n := range all.Classes {
			if g.walkedFor(n.Class, changes) == id {
				part.Classes = append(part.Classes, n)
			}
		}
		if i > 0 {
			part.Read, part.Took = 0, 0 // of the newest
		}
		_, err := g.Actions.Walked(id, part)
		errs = append(errs, err)
	}
	if halted || errors.Is(w.err, entries.ErrTaken) { // what somebody has taken is yielded
		w.err = nil
	}
	g.reportWalk(changes[0], errors.Join(append(errs, w.err)...))
}

// walkedFor is the newest of some changes that has shortened a class.
func (g *Guard) walkedFor(class string, changes []int) int {
	for _, id := range changes {
		c, _ := g.Ledger.Find(id)
		for _, e := range c.Edits {
			if _, of, ok := actions.ParseTimeoutKey(e.Key); ok && of.Name() == class {
				return id
			}
		}
	}
	return changes[0]
}

// haltWalk has the walk under way end, and reports whether there is none now. Timeouts
// are changed only then: to a walk that does not know of the new ones, entries that
// begin with them look old.
func (g *Guard) haltWalk(why error) (none bool) {
	if g.walking.back != nil {
		g.walking.stop(why)
	}
	return g.walking.back == nil
}

// awaitWalk halts the walk and records how far it came.
func (g *Guard) awaitWalk(why error) error {
	if g.haltWalk(why) {
		return nil
	}
	select {
	case back := <-g.walking.back:
		g.endWalk(back)
		return nil
	case <-time.After(lastWait):
		return errLost
	}
}

// disturbs reports whether a decision may change timeouts.
func disturbs(d policy.Decision) bool {
	return d.Measure == policy.ShortenTimeouts && (d.Verb == policy.Do || d.Verb == policy.Undo || d.Verb == policy.Yield)
}

// reportWalk reports a walk that failed when the reason is new. What a walk has done
// is told with the judgement on its change.
func (g *Guard) reportWalk(change int, err error) {
	w := &g.walking
	if err == nil {
		w.why = ""
		return
	}
	w.failed = g.Clock()
	if why := err.Error(); why != w.why {
		w.why = why
		g.log(slog.LevelWarn, eventFailed, fmt.Sprintf("change %d: not all entries that exist end sooner: %s", change, why),
			slog.Int("CHANGE_ID", change), slog.String("ERROR", why))
	}
}

// ofWalk adds what walks have done to the entries for a change.
func (g *Guard) ofWalk(change int) (attrs []slog.Attr) {
	c, ok := g.Ledger.Find(change)
	if !ok || c.Walk == nil {
		return nil
	}
	attrs = append(attrs, slog.Int("READ", c.Walk.Read), slog.String("TOOK", fmt.Sprintf("%.3f", c.Walk.Took)))
	for _, n := range c.Walk.Classes {
		attrs = append(attrs, slog.String("CLASS", n.Class), slog.Int("DELETED", n.Deleted), slog.Int("RETIMED", n.Retimed))
	}
	return attrs
}
