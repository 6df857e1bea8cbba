package main

import (
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// leaseName says what a lease does, and to whom.
func leaseName(l nft.Lease) string {
	if l.Kind == nft.Bypass {
		return "bypass " + l.Flow
	}
	return l.Kind.String() + " " + l.Source.String()
}

// leaseTerms says how much a lease lets through.
func leaseTerms(l actions.Lease) string {
	switch l.Kind {
	case nft.Limit:
		return fmt.Sprintf("%s/s, burst %s", policy.Number(l.Rate), policy.Number(l.Burst))
	case nft.Drop:
		return "all dropped"
	}
	return "untracked"
}

// remainsText says what is left of a lease in force, and what it has refused.
func remainsText(kind nft.Kind, left time.Duration, refused uint64) string {
	if left == 0 {
		return "over"
	}
	text := policy.Span(left) + " left"
	if kind != nft.Bypass { // which refuses nothing
		text += ", " + policy.Number(int(refused)) + " refused"
	}
	return text
}
