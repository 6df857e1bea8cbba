package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func printPlan(w io.Writer, p plan) {
	cause := "none"
	if p.Cause != policy.None {
		cause = guard.Diagnosis(p.Cause, p.Pattern, p.Confidence)
	}
	fmt.Fprintf(w, "table  %s\nmode   %s\ncause  %s\n", p.Evidence, p.Mode, cause)
	if p.Census != "" {
		fmt.Fprintf(w, "census %s\n", p.Census)
	}
	printSpared(w, p)
	if p.Max == 0 {
		fmt.Fprintln(w, "The kernel keeps no limit (nf_conntrack_max is 0): there is nothing to guard.")
		return
	}
	if len(p.Decisions) == 0 {
		fmt.Fprintln(w, "Nothing is to be done.")
	}
	for _, d := range p.Decisions {
		if d.Verb == policy.Do {
			fmt.Fprint(w, "would ")
		}
		fmt.Fprintln(w, guard.Sentence(d))
	}
}

// printSpared says who is never limited, and which flows were looked for.
func printSpared(w io.Writer, p plan) {
	if len(p.Allowed) > 0 {
		fmt.Fprintf(w, "Never limited: %s.\n", allowedText(p.Allowed))
	}
	if p.Unlisted != "" {
		fmt.Fprintf(w, "Not all who are never limited are known: %s\n", p.Unlisted)
	}
	if p.Unseen != "" {
		fmt.Fprintf(w, "Whether flows that may bypass tracking are translated is not known: %s\n", p.Unseen)
	}
}

// allowedAtMost is how many of one kind are named.
const allowedAtMost = 6

// allowedText names who is never limited, by the reasons for it.
func allowedText(all []allowedSource) string {
	var reasons []string
	of := map[string][]string{}
	for _, a := range all {
		if of[a.Why] == nil {
			reasons = append(reasons, a.Why)
		}
		of[a.Why] = append(of[a.Why], prefixText(a.Prefix))
	}
	var parts []string
	for _, why := range reasons {
		names := of[why]
		if more := len(names) - allowedAtMost; more > 0 {
			names = append(names[:allowedAtMost:allowedAtMost], fmt.Sprintf("%d more", more))
		}
		parts = append(parts, why+" "+strings.Join(names, ", "))
	}
	return strings.Join(parts, "; ")
}
