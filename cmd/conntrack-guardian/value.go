package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// valueName is the name of a kernel value that a change edits, as sysctl has it
// without what all have in common.
func valueName(key string) string {
	if _, class, ok := actions.ParseTimeoutKey(key); ok {
		return class.Name()
	}
	return strings.TrimPrefix(strings.TrimPrefix(key, "sysctl:"), "net.netfilter.")
}

// valueText writes a kernel value for people.
func valueText(key, value string) string {
	n, err := strconv.Atoi(value)
	if err != nil {
		return value
	}
	if _, _, ok := actions.ParseTimeoutKey(key); ok {
		return policy.TimeoutText(n)
	}
	return policy.Number(n)
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
