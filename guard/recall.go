package guard

import (
	"slices"
	"strconv"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// closedKept is how many ended changes of each measure the policy is shown besides
// those it must know: cooldowns and back-offs rest on the newest, and the acts of an hour
// are counted by them.
const closedKept = policy.MaxActs

// Recall shows the policy the changes of a boot to what a guardian of that namespace
// writes: those in force, those that have lost something to somebody else, and the
// newest that have ended.
func Recall(all []ledger.Change, boot, namespace string) []policy.Change {
	var out []policy.Change
	level := 0 // of the open change before
	older := map[kind]int{}
	for _, c := range all {
		older[kindOf(c)]++
	}
	for _, c := range all {
		older[kindOf(c)]--
		p, ok := recall(c, namespace)
		if !ok || c.Boot != boot {
			continue
		}
		if p.Measure == policy.ShortenTimeouts {
			p.Before = level
			if p.State == policy.Applied {
				level = p.After
			}
		}
		if p.State == policy.Applied || len(c.Yielded) > 0 || p.State == policy.Yielded || p.RolledBack || older[kindOf(c)] < closedKept {
			out = append(out, p)
		}
	}
	return out
}

// A kind of changes is forgotten by itself: those that are not counted as acts must not
// take the place of those that are.
type kind struct {
	measure string
	counted bool
}

func kindOf(c ledger.Change) kind { return kind{c.Measure, c.ApprovedBy == "" && c.Replaces == 0} }

// recall translates one change. One that is not about a number is none of the
// policy's business, and left out.
func recall(c ledger.Change, namespace string) (p policy.Change, ok bool) {
	p = policy.Change{
		ID: c.ID, Measure: policy.Measure(c.Measure), State: stateOf(c.State), Episode: c.Episode, Cause: policy.Cause(c.Cause),
		Made: c.Made, At: c.Since, Outcome: policy.Outcome(c.Outcome), ApprovedBy: c.ApprovedBy, RolledBack: actions.RolledBack(c), Replaces: c.Replaces,
	}
	switch p.Measure {
	case policy.ShortenTimeouts:
		ok = recallTimeouts(&p, c, namespace)
	case policy.LimitSource, policy.Bypass:
		ok = recallLease(&p, c, namespace)
	default:
		p.Before, p.After, ok = values(c)
	}
	// What was never tried is no reason to wait.
	untried := c.State == ledger.Failed && c.Note == actions.NeverWritten
	return p, ok && p.State != "" && !untried
}

// recallTimeouts fills in those of a change to timeouts of a namespace.
func recallTimeouts(p *policy.Change, c ledger.Change, namespace string) bool {
	p.After = c.Level
	for _, e := range c.Edits {
		where, class, ok := actions.ParseTimeoutKey(e.Key)
		t, known := policy.TimeoutNamed(class.Name())
		before, after, numeric := numbersOf(e)
		if !ok || !known || !numeric || where != namespace {
			return false
		}
		if p.Lost[t] = slices.Contains(c.Yielded, e.Key) || c.State == ledger.Yielded; !p.Lost[t] {
			p.Timeouts[t] = policy.TimeoutEdit{Before: before, After: after}
		}
	}
	p.Walk = recallWalk(c.Walk)
	return true
}

func recallWalk(w *ledger.Walk) (p policy.Walk) {
	if w == nil {
		return p
	}
	p.Running, p.Done = w.Running, w.Done
	for _, n := range w.Classes {
		p.Deleted += n.Deleted
		p.Retimed += n.Retimed
	}
	return p
}

// values are the numbers of a change to one number.
func values(c ledger.Change) (before, after int, ok bool) {
	if len(c.Edits) != 1 {
		return 0, 0, false
	}
	return numbersOf(c.Edits[0])
}

func numbersOf(e ledger.Edit) (before, after int, ok bool) {
	before, errBefore := strconv.Atoi(e.Before)
	after, errAfter := strconv.Atoi(e.After)
	return before, after, errBefore == nil && errAfter == nil
}

// stateOf is empty for a change that concerns nobody any more.
func stateOf(s ledger.State) policy.ChangeState {
	switch s {
	// An intended change may be in force: the write succeeded and its record did
	// not. One at undoing is, until the kernel has taken the former value.
	case ledger.Intended, ledger.Applied, ledger.Undoing:
		return policy.Applied
	case ledger.Undone:
		return policy.Undone
	case ledger.Failed:
		return policy.Failed
	case ledger.Yielded:
		return policy.Yielded
	}
	return ""
}
