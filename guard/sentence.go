package guard

import (
	"fmt"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Sentence says a decision in one line.
func Sentence(d policy.Decision) string {
	switch d.Verb {
	case policy.Open, policy.Diagnose:
		return fmt.Sprintf("%s: %s", Diagnosis(d.Cause, d.Pattern, d.Confidence), d.Reason)
	case policy.Do:
		return fmt.Sprintf("%s: %s", Act(d), d.Reason)
	case policy.Advised:
		if d.ID == "" {
			return fmt.Sprintf("advice: %s: %s", Act(d), d.Reason)
		}
		return fmt.Sprintf("advice %s: %s: %s", d.ID, Act(d), d.Reason)
	case policy.Observed:
		return fmt.Sprintf("observed only: %s: %s", Act(d), d.Reason)
	case policy.Undo:
		return fmt.Sprintf("undo change %d: %s: %s", d.Change, Act(d), d.Reason)
	case policy.Judge:
		return fmt.Sprintf("change %d %s: %s", d.Change, d.Outcome, d.Reason)
	case policy.Yield:
		return fmt.Sprintf("yield change %d: %s", d.Change, d.Reason)
	case policy.Bounded:
		return d.Reason
	case policy.Rank:
		return "sources by what they hold: " + d.Reason
	case policy.Prune:
		return fmt.Sprintf("change %d: delete the entries of %s without a reply: %s", d.Change, about(d), d.Reason)
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

// Act says what a decision does, without why.
func Act(d policy.Decision) string {
	if d.Terms != nil {
		l := leaseOf(d, "")
		if d.To < d.From {
			return freeText(l)
		}
		return leaseText(l)
	}
	if d.Measure == policy.ShortenTimeouts {
		verb := fmt.Sprintf("shorten timeouts to level %d of %d", d.To, policy.TopLevel)
		if d.To < d.From {
			verb = fmt.Sprintf("give timeouts back, level %d to %d", d.From, d.To)
		}
		if len(d.Timeouts) == 0 { // advice is kept without them
			return verb
		}
		return verb + ": " + timeouts(d.Timeouts)
	}
	name := map[policy.Measure]string{policy.RaiseMax: "nf_conntrack_max", policy.GrowBuckets: "nf_conntrack_buckets"}[d.Measure]
	verb := "raise"
	if d.To < d.From {
		verb = "lower"
	}
	return fmt.Sprintf("%s %s from %s to %s", verb, name, policy.Number(d.From), policy.Number(d.To))
}

// about is the source or the flow of a lease.
func about(d policy.Decision) string {
	switch {
	case d.Terms == nil:
		return ""
	case d.Terms.Flow != "":
		return d.Terms.Flow
	}
	return bare(leaseOf(d, ""))
}

// timeouts lists what becomes of some timeouts.
func timeouts(list []policy.TimeoutChange) string {
	var parts []string
	for _, t := range list {
		parts = append(parts, fmt.Sprintf("%s %s → %s", t.Name, policy.TimeoutText(t.From), policy.TimeoutText(t.To)))
	}
	return strings.Join(parts, ", ")
}

// shortened names the timeouts of a change.
func shortened(c ledger.Change) string {
	var names []string
	for _, e := range c.Ours() {
		if _, class, ok := actions.ParseTimeoutKey(e.Key); ok {
			names = append(names, class.Name())
		}
	}
	return strings.Join(names, ", ")
}

// back says what taking a change back has done, nothing where its values are no
// numbers. Timeouts that are somebody else's by now are not among them.
func back(c ledger.Change) string {
	d := policy.Decision{Measure: policy.Measure(c.Measure)}
	if isLease(c) && len(c.Edits) == 1 {
		l, _ := actions.ParseLease(c.Edits[0])
		return freeText(l)
	}
	if d.Measure != policy.ShortenTimeouts {
		before, after, ok := values(c)
		if d.From, d.To = after, before; !ok {
			return ""
		}
		return Act(d)
	}
	if d.Timeouts = timeoutsOf(c.Ours(), true); d.Timeouts == nil {
		return ""
	}
	return "give timeouts back: " + timeouts(d.Timeouts)
}

// timeoutsOf is what some edits have done to timeouts, or what taking them back does, nil
// where they are not all about timeouts.
func timeoutsOf(edits []ledger.Edit, back bool) (list []policy.TimeoutChange) {
	for _, e := range edits {
		_, class, known := actions.ParseTimeoutKey(e.Key)
		before, after, ok := numbersOf(e)
		if !known || !ok {
			return nil
		}
		if back {
			before, after = after, before
		}
		list = append(list, policy.TimeoutChange{Name: class.Name(), From: before, To: after})
	}
	return list
}
