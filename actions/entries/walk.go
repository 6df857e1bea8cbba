package entries

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// attempts is how often a walk is begun.
const attempts = 4

// Walk walks the table as planned. When the hash table is resized meanwhile it begins
// anew, three times at most, and gives up with ErrResized.
//
// It ends with ErrTaken when a timeout is not the one of the plan (any more), and with the
// cause of the end of ctx. The result counts also with an error. A walk that ends since no
// more than Until entries are left is not done, and no error.
func Walk(ctx context.Context, plan Plan) (Result, error) {
	var r Result
	err := plan.check()
	if err == nil {
		err = netns.Do(plan.Namespace, func() error {
			// What this thread uses is what the walk uses.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return walk(ctx, &plan, &r)
		})
	}
	switch {
	case err == nil:
		r.Done = true
	case errors.Is(err, errEnough):
		r.Note, err = err.Error(), nil
	default:
		err = fmt.Errorf("walk over the conntrack entries: %w", err)
		r.Note = err.Error()
	}
	return r, err
}

func (p *Plan) check() error {
	switch {
	case p.Budget != 0 && p.Budget < LeastBudget:
		return fmt.Errorf("a budget of %d entries a second: it must be %d at least, or 0 for none", p.Budget, LeastBudget)
	case p.Until < 0:
		return fmt.Errorf("until %d entries are left", p.Until)
	}
	return nil
}

// idle reports whether no class is in the change.
func (p *Plan) idle() bool {
	return !slices.ContainsFunc(p.Rules[:], func(r Rule) bool { return r.New > 0 })
}

// walk walks the table of the calling thread's namespace.
func walk(ctx context.Context, p *Plan, into *Result) error {
	t, err := timeout.Read()
	if err != nil || p.idle() {
		return err
	}
	w := walker{
		plan: p, pace: startPace(p.Budget),
		judge: judge{classes: t.Rules(), rules: with(p.Rules, &t), established: p.Established, retime: p.Retime},
	}
	for attempt := 1; ; attempt++ {
		err := w.attempt(ctx)
		w.fill(into, attempt)
		if !errors.Is(err, ErrResized) || attempt == attempts {
			return err
		}
		w.judge.beginAgain(&w.retimed)
	}
}

// beginAgain takes into account what the attempt before has done: entries may have been
// given what the new timeout would have left them.
func (j *judge) beginAgain(retimed *tally) {
	for c, n := range retimed {
		if n == 0 {
			continue
		}
		rule := &j.rules[c]
		rule.Was = slices.Clone(rule.Was)
		for i := range rule.Was {
			rule.Was[i].Retimed = rule.Was[i].Retimed || rule.Was[i].Timeout == rule.New
		}
	}
}

// fill writes what was counted into a result.
func (w *walker) fill(r *Result, attempt int) {
	r.Attempts, r.Read = attempt, w.read
	r.Took, r.CPU = w.pace.used()
	r.Deleted, r.Retimed = w.deleted.sum(), w.retimed.sum()
	r.Gone, r.Refused, r.Refusal = w.gone, w.refused, w.refusal
	r.Classes = counts(&w.deleted, &w.retimed)
	r.Kept = keptOf(&w.kept)
}
