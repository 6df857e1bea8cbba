package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// valueName is the name of what a change edits in the kernel: as sysctl has it,
// without what all have in common, or what a lease does to whom.
func valueName(e ledger.Edit) string {
	if _, class, ok := actions.ParseTimeoutKey(e.Key); ok {
		return class.Name()
	}
	if l, ok := actions.ParseLease(e); ok {
		return leaseName(nft.Lease{Kind: l.Kind, Source: l.Source, Flow: l.Flow})
	}
	return strings.TrimPrefix(strings.TrimPrefix(e.Key, "sysctl:"), "net.netfilter.")
}

// valueText writes one of the two values of an edit for people.
func valueText(e ledger.Edit, value string) string {
	if l, ok := actions.ParseLease(e); ok && value == e.After {
		return leaseTerms(l) + ", lease " + policy.Short(l.For)
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return value
	}
	if _, _, ok := actions.ParseTimeoutKey(e.Key); ok {
		return policy.TimeoutText(n)
	}
	return policy.Number(n)
}

// entriesOf says what a change did to the entries that there were.
func entriesOf(c ledger.Change) string {
	if _, ok := leaseOf(c); ok {
		return pruneText(c.Walk)
	}
	return walkText(c.Walk)
}

// pruneText says what a limit did to the entries of its source that had seen no reply.
func pruneText(w *ledger.Walk) string {
	if w.Running {
		return "those without a reply began to be deleted, and the end of that is not known"
	}
	deleted := 0
	for _, c := range w.Classes {
		deleted += c.Deleted
	}
	text := fmt.Sprintf("%s without a reply deleted in %.1f s", policy.Number(deleted), w.Took)
	if w.Note != "" {
		text += "; not all: " + w.Note
	}
	return text
}

// walkUnknown is said of a walk that goes on, or whose daemon was killed.
const walkUnknown = "a walk began and its end is not known"

// walkText says what a change of timeouts did to the entries that there were.
func walkText(w *ledger.Walk) string {
	if w.Running && w.Read == 0 {
		return walkUnknown
	}
	text := fmt.Sprintf("%s read in %.1f s", policy.Number(w.Read), w.Took)
	for _, c := range w.Classes {
		text += fmt.Sprintf("; %s: %s deleted, %s end sooner", c.Class, policy.Number(c.Deleted), policy.Number(c.Retimed))
	}
	switch {
	case w.Running: // the figures are of those before it
		text += "; " + walkUnknown
	case !w.Done && w.Note == "":
		text += "; not all"
	case !w.Done:
		text += "; not all: " + w.Note
	}
	return text
}
