package guard

import (
	"strconv"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// closedKept is how many ended changes the policy is shown besides those it
// must know: cooldowns and back-offs rest on the newest.
const closedKept = 32

// Recall shows the policy the changes of a boot: those in force, those yielded,
// and the newest that have ended.
func Recall(all []ledger.Change, boot string) []policy.Change {
	var out []policy.Change
	for i, c := range all {
		p, ok := recall(c)
		if !ok || c.Boot != boot {
			continue
		}
		if p.State == policy.Applied || p.State == policy.Yielded || i >= len(all)-closedKept {
			out = append(out, p)
		}
	}
	return out
}

// recall translates one change. One that is not about a single number is none of
// the policy's business, and left out.
func recall(c ledger.Change) (policy.Change, bool) {
	before, after, numeric := values(c)
	state := stateOf(c.State)
	return policy.Change{
		ID: c.ID, Measure: policy.Measure(c.Measure), State: state, Episode: c.Episode, Cause: policy.Cause(c.Cause),
		Before: before, After: after, At: c.Since, Outcome: policy.Outcome(c.Outcome),
	}, numeric && state != ""
}

// values are the numbers of a change to one number.
func values(c ledger.Change) (before, after int, ok bool) {
	if len(c.Edits) != 1 {
		return 0, 0, false
	}
	before, errBefore := strconv.Atoi(c.Edits[0].Before)
	after, errAfter := strconv.Atoi(c.Edits[0].After)
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
