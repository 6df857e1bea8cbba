package guard

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// plan turns a decision to act into a change. It is the only place where the
// words of the policy meet those of the kernel.
func plan(d policy.Decision, namespace string) (ledger.Change, error) {
	edits, err := edits(d, namespace)
	if err != nil {
		return ledger.Change{}, fmt.Errorf("plan %q: %w", d.Measure, err)
	}
	c := ledger.Change{
		Measure:   string(d.Measure),
		Episode:   d.Episode,
		Cause:     string(d.Cause),
		Reason:    d.Reason,
		Namespace: namespace, ApprovedBy: d.ApprovedBy, Replaces: d.Replaces,
		Edits: edits,
	}
	if d.Measure == policy.ShortenTimeouts || d.Terms != nil {
		c.Level = d.To
	}
	return c, nil
}

// edits are the kernel values that a decision is about, as they are and as it would
// have them.
func edits(d policy.Decision, namespace string) (list []ledger.Edit, err error) {
	edit := func(key string, from, to int) {
		list = append(list, ledger.Edit{Key: key, Before: strconv.Itoa(from), After: strconv.Itoa(to)})
	}
	switch d.Measure {
	case policy.RaiseMax:
		edit(actions.MaxKey, d.From, d.To)
	case policy.GrowBuckets:
		edit(actions.BucketsKey, d.From, d.To)
	case policy.ShortenTimeouts:
		for _, t := range d.Timeouts {
			class, ok := timeout.ByName(t.Name)
			if !ok {
				return nil, fmt.Errorf("no kernel value is named %s", t.Name)
			}
			edit(actions.TimeoutKey(namespace, class), t.From, t.To)
		}
	case policy.LimitSource, policy.Bypass:
		if d.Terms == nil {
			return nil, errors.New("a lease without terms")
		}
		list = append(list, actions.LeaseEdit(leaseOf(d, namespace)))
	default:
		return nil, fmt.Errorf("no kernel value belongs to this measure")
	}
	return list, nil
}
