package main

import (
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestPrintPlan(t *testing.T) {
	for want, p := range map[string]plan{
		"Nothing is to be done.": {Max: 10},
		"The kernel keeps no limit (nf_conntrack_max is 0): there is nothing to guard.": {},
		"would raise nf_conntrack_max from 10 to 20: because": {Max: 10, Decisions: []policy.Decision{
			{Verb: policy.Do, Measure: policy.RaiseMax, From: 10, To: 20, Reason: "because"},
		}},
	} {
		var out strings.Builder
		printPlan(&out, p)
		if !strings.HasSuffix(out.String(), want+"\n") {
			t.Errorf("printed %q, want the end %q", out.String(), want)
		}
	}
}

func TestActs(t *testing.T) {
	for _, v := range policy.Verbs {
		want := v == policy.Do || v == policy.Undo || v == policy.Yield || v == policy.Prune
		if got := acts([]policy.Decision{{Verb: policy.Open}, {Verb: v}}); got != want {
			t.Errorf("%s acts: %v", v, got)
		}
	}
}
