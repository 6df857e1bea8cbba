package guard

import (
	"fmt"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Sentence says a decision in one line.
func Sentence(d policy.Decision) string {
	switch d.Verb {
	case policy.Open, policy.Diagnose:
		return fmt.Sprintf("%s: %s", Diagnosis(d.Cause, d.Pattern, d.Confidence), d.Reason)
	case policy.Do:
		return fmt.Sprintf("%s: %s", act(d), d.Reason)
	case policy.Advised:
		return fmt.Sprintf("advice: %s: %s", act(d), d.Reason)
	case policy.Observed:
		return fmt.Sprintf("observed only: %s: %s", act(d), d.Reason)
	case policy.Undo:
		return fmt.Sprintf("undo change %d: %s: %s", d.Change, act(d), d.Reason)
	case policy.Judge:
		return fmt.Sprintf("change %d %s: %s", d.Change, d.Outcome, d.Reason)
	case policy.Yield:
		return fmt.Sprintf("yield change %d: %s", d.Change, d.Reason)
	case policy.Bounded:
		return d.Reason
	case policy.Close:
		return "episode over: " + d.Reason
	}
	return fmt.Sprintf("%s: %s", d.Verb, d.Reason)
}

// Diagnosis says a cause with its pattern and the confidence in the two.
func Diagnosis(c policy.Cause, p policy.Pattern, confidence float64) string {
	sure := policy.Percent(confidence) + " sure"
	if p != policy.NoPattern {
		sure = string(p) + ", " + sure
	}
	return fmt.Sprintf("%s (%s)", c, sure)
}

// act says what a decision does to its number.
func act(d policy.Decision) string {
	name := map[policy.Measure]string{policy.RaiseMax: "nf_conntrack_max", policy.GrowBuckets: "nf_conntrack_buckets"}[d.Measure]
	verb := "raise"
	if d.To < d.From {
		verb = "lower"
	}
	return fmt.Sprintf("%s %s from %s to %s", verb, name, policy.Number(d.From), policy.Number(d.To))
}
