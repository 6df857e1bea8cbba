package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// replayWidth is how wide text is at most.
const replayWidth = 80

// besideWidth is how wide each of two decisions is at most, beside the other, the time and
// the mark.
const besideWidth = (replayWidth - 15) / 2

// lines lays out what was decided then and now.
func (p *played) lines() []textLine {
	by := "as recorded"
	if p.Policy != "" {
		by = p.Policy
	}
	lines := []textLine{
		{text: "record  " + printable(filepath.Base(p.Record))},
		{text: "policy  " + printable(by)},
		{},
	}
	if rows := p.rows(); len(rows) > 0 {
		columns := []column{{"TIME", left}, {" ", left}, {"THEN", left}, {"NOW", left}}
		lines = append(append(lines, layOut(columns, rows)...), textLine{})
	}
	for _, text := range p.summary() {
		for _, l := range wrap(text, replayWidth) {
			lines = append(lines, textLine{text: l})
		}
	}
	return lines
}

// rows are the decisions, and what is to be known about the readings between them.
func (p *played) rows() (rows [][]string) {
	for _, st := range p.Steps {
		at := st.At.UTC().Format(time.TimeOnly)
		if st.Gap != "" {
			rows = append(rows, []string{at, "", "(" + printable(st.Gap) + ")", ""})
		}
		if st.Doubt != "" {
			rows = append(rows, []string{at, "", "", "(begins anew)"})
		}
		for _, r := range beside(st.Then, st.Now) {
			rows = append(rows, []string{at, r.mark, shortly(r.then), shortly(r.now)})
		}
	}
	return rows
}

// shortly says a decision without its reason, empty for none.
func shortly(d *policy.Decision) string {
	if d == nil {
		return ""
	}
	return cut(printable(strings.TrimSpace(decidedText(d)+" "+whatText(d))), besideWidth)
}

func decidedText(d *policy.Decision) string {
	switch d.Verb {
	case policy.Do:
		return ""
	case policy.Diagnose:
		return "cause"
	case policy.Undo, policy.Yield, policy.Judge:
		return fmt.Sprintf("%s #%d", d.Verb, d.Change)
	}
	return string(d.Verb)
}

// whatText says what a decision is about.
func whatText(d *policy.Decision) string {
	switch d.Verb {
	case policy.Open, policy.Diagnose:
		if d.Pattern != policy.NoPattern {
			return fmt.Sprintf("%s (%s)", d.Cause, d.Pattern)
		}
		return string(d.Cause)
	case policy.Judge:
		return string(d.Outcome)
	case policy.Close:
		return "the episode"
	case policy.Rank:
		return "sources"
	case policy.Bounded:
		return string(d.Measure)
	}
	return measureText(d)
}

func measureText(d *policy.Decision) string {
	switch {
	case d.Terms != nil && d.Terms.Flow != "":
		return fmt.Sprintf("%s %s", d.Measure, d.Terms.Flow)
	case d.Terms != nil && max(d.From, d.To) == policy.Dropped:
		return "drop " + d.Terms.Source.String()
	case d.Terms != nil && d.Verb == policy.Undo:
		return d.Terms.Source.String()
	case d.Terms != nil:
		return "limit " + d.Terms.Source.String()
	case d.Measure == policy.ShortenTimeouts:
		return fmt.Sprintf("timeouts to level %d", d.To)
	}
	return fmt.Sprintf("%s to %s", d.Measure, policy.Number(d.To))
}

// summary says what it came to.
func (p *played) summary() []string {
	span := policy.Span(time.Duration(p.Span * float64(time.Second)))
	list := []string{
		fmt.Sprintf("%s readings in %s. Decisions: %s then, %s now, %s the same.",
			policy.Number(p.Readings), span, policy.Number(p.Then.Decisions), policy.Number(p.Now.Decisions), policy.Number(p.Same)),
	}
	if p.Unlisted > 0 {
		list = append(list, policy.Number(p.Unlisted)+" of them are not listed.")
	}
	if p.Parted.IsZero() {
		list = append(list, "Then: "+p.Then.text(), "Now: what is done is the same.")
	} else {
		list = append(list,
			"What is done differs from "+p.Parted.UTC().Format("15:04:05.0")+" on.",
			"Then: "+p.Then.text(), "Now: "+p.Now.text()+" (an estimate)",
			record.Unmodelled)
	}
	for _, st := range p.Steps {
		if st.Doubt != "" {
			list = append(list, fmt.Sprintf("What the policy had in mind at %s is not known: %s. It begins there as after a start.",
				st.At.UTC().Format(time.TimeOnly), printable(st.Doubt)))
		}
	}
	return list
}

func (u *playedSum) text() string {
	return fmt.Sprintf("peak %s, %s entries; max up to %s; %s connections lost",
		policy.Percent(u.Peak), policy.Number(u.Entries), policy.Number(u.Max), policy.Number(int(u.Lost)))
}
