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
	stop    context.CancelCauseFunc // of the walk under way
	failed  time.Duration           // when the last one failed
	why     string                  // as reported, empty when the last one did not fail
}

// walked is what a walk comes back with.
type walked struct {
	entries.Result
	err error
}

var (
	// errHalted is why a walk ends before timeouts are changed again.
	errHalted = errors.New("timeouts are changed again")
	errLost   = errors.New("a walk over the table does not come to its end")
)

// walk takes in what a walk has come to, and begins one when the policy wants it.
// There is only one at a time.
func (g *Guard) walk(now time.Duration) {
	w := &g.walking
	select {
	case back := <-w.back: // never, of a nil channel
		g.endWalk(back)
		return // what is wanted now the next reading tells
	default:
	}
	if g.Walk == nil || g.unable != "" || w.back != nil || w.why != "" && now-w.failed < retryEvery {
		return
	}
	change, enough := g.state.WantsWalk(&g.snapshot, &g.Config)
	if change == 0 {
		return
	}
	if err := g.beginWalk(enough, now); err != nil {
		g.reportWalk(change, err)
	}
}

// beginWalk sends a walk out for all changes whose entries have not been dealt with,
// with the intent on the disk first.
func (g *Guard) beginWalk(enough int, now time.Duration) error {
	m := &g.Config.ShortenTimeouts
	plan := entries.Plan{Until: enough, Retime: m.Retime, Established: m.Established(), Budget: m.Budget}
	var changes []int
	for _, c := range slices.Backward(g.shortenings()) {
		if c.State != ledger.Applied || c.Walk != nil && c.Walk.Done {
			continue
		}
		if _, err := g.Actions.Walking(c.ID, m.Retime); err != nil {
			return err
		}
		changes = append(changes, c.ID)
	}
	for _, id := range changes {
		p, err := entries.PlanOf(g.Actions.Changes(), id, g.Ledger.Boot(), now)
		if err != nil {
			return err
		}
		for class := range p.Rules {
			p.Rules[class].New = cmp.Or(plan.Rules[class].New, p.Rules[class].New)
		}
		plan.Namespace, plan.Rules = p.Namespace, p.Rules
	}
	ctx, stop := context.WithCancelCause(g.living)
	back := make(chan walked, 1) // so that it never waits for us
	g.walking.back, g.walking.changes, g.walking.stop = back, changes, stop
	go func() {
		var w walked
		w.Result, w.err = g.Walk(ctx, plan)
		back <- w
	}()
	return nil
}

// endWalk records what a walk has come to, with each change what was done for it.
func (g *Guard) endWalk(w walked) {
	changes := g.walking.changes
	g.walking.stop(nil)
	g.walking.back = nil
	var errs []error
	all := w.Ledger()
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
	if errors.Is(w.err, errHalted) || errors.Is(w.err, errStopping) {
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

// haltWalk has the walk under way end, and records how far it came. That must be before
// timeouts are changed: to a walk that does not know of them, entries that begin with
// new ones would look old.
func (g *Guard) haltWalk(why error) error {
	w := &g.walking
	if w.back == nil {
		return nil
	}
	w.stop(why)
	select {
	case back := <-w.back:
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
		g.log(slog.LevelWarn, eventFailed, fmt.Sprintf("change %d: the entries that exist keep their time: %s", change, why),
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
