package guard

import (
	"fmt"
	"strconv"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// plan turns a decision to act into a change. It is the only place where the
// words of the policy meet those of the kernel.
func plan(d policy.Decision, namespace string) (ledger.Change, error) {
	key, err := key(d.Measure)
	if err != nil {
		return ledger.Change{}, err
	}
	return ledger.Change{
		Measure:   string(d.Measure),
		Episode:   d.Episode,
		Cause:     string(d.Cause),
		Reason:    d.Reason,
		Namespace: namespace,
		Edits:     []ledger.Edit{{Key: key, Before: strconv.Itoa(d.From), After: strconv.Itoa(d.To)}},
	}, nil
}

// key names the kernel value that a measure changes.
func key(m policy.Measure) (string, error) {
	switch m {
	case policy.RaiseMax:
		return actions.MaxKey, nil
	case policy.GrowBuckets:
		return actions.BucketsKey, nil
	}
	return "", fmt.Errorf("plan %q: no kernel value belongs to this measure", m)
}
