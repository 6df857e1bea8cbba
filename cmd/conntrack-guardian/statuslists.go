package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A statusList is a list of the page with its head.
type statusList struct {
	head string
	rows []textLine
}

// lines are at most so many of the list: a gap, the head, rows, and how many are missing.
func (l *statusList) lines(most int) []textLine {
	const gap, rest = 2, 1
	shown := len(l.rows)
	if gap+shown > most {
		shown = most - gap - rest
	}
	if shown < 1 {
		return nil
	}
	lines := append([]textLine{{}, {text: l.head, head: true}}, l.rows[:shown]...)
	if missing := len(l.rows) - shown; missing > 0 {
		lines = append(lines, textLine{text: "  " + verbText(missing, "line more", "lines more")})
	}
	return lines
}

// lists are those of the page, what the operator is asked first.
func (p *statusPage) lists() []statusList {
	s := p.status
	advice := statusList{head: "ADVICE, not done: conntrack-guardian approve ID does it"}
	for _, a := range s.Advice {
		advice.rows = append(advice.rows, p.adviceRows(a)...)
	}
	active := statusList{head: "IN FORCE: conntrack-guardian rollback ID undoes it"}
	for _, a := range s.Active {
		active.rows = append(active.rows, p.activeRows(a)...)
	}
	yielded := statusList{head: "KEPT OFF, because somebody else or an operator has changed it"}
	for _, y := range s.Yielded {
		yielded.rows = append(yielded.rows, hanging(idText(y.ID), fmt.Sprintf("%s; considered again from %s", y.Text, clockText(y.Until, p.now)))...)
	}
	recent := statusList{head: "LATELY: conntrack-guardian actions ID tells more"}
	wide := 0 // the clock's column
	for _, a := range s.Recent {
		wide = max(wide, len(clockText(a.At, p.now)))
	}
	for _, a := range s.Recent {
		recent.rows = append(recent.rows, p.recentRow(a, wide))
	}
	return []statusList{advice, active, yielded, recent}
}

// idText is the id of a change in front of its row.
func idText(id int) string { return fmt.Sprintf("%4d  ", id) }

// adviceRows say what would be done, and why.
func (p *statusPage) adviceRows(a control.Advice) []textLine {
	reason := a.Reason
	if !a.Due {
		reason += "; not called for at the newest reading"
	}
	rows := hanging("  "+printable(a.ID)+"  ", a.Text)
	return append(rows, hanging("      ", fmt.Sprintf("since %s: %s", clockText(a.Since, p.now), reason))...)
}

// activeRows say what a change does and how long yet.
func (p *statusPage) activeRows(a control.Active) []textLine {
	parts := []string{a.Text}
	if a.Outcome != "" {
		parts = append(parts, string(a.Outcome))
	} else {
		parts = append(parts, "not judged yet")
	}
	if a.Refused != nil {
		parts = append(parts, policy.Number(int(*a.Refused))+" refused")
	}
	if a.LeaseLeft != nil {
		parts = append(parts, "lease "+secondsText(*a.LeaseLeft))
	}
	if a.HoldLeft != nil {
		parts = append(parts, "undone after "+secondsText(*a.HoldLeft)+" more of calm")
	}
	return hanging(idText(a.ID), strings.Join(parts, "; "))
}

// recentRow says what became of a change, in one line.
func (p *statusPage) recentRow(a control.Act, wide int) textLine {
	text := a.Text
	if a.Outcome != "" {
		text = fmt.Sprintf("%s: %s", a.Outcome, text)
	}
	if a.Note != "" && (a.State == string(ledger.Failed) || a.State == string(ledger.Yielded)) {
		text = a.Note
	}
	front := fmt.Sprintf("%s%-*s  %-8s  ", idText(a.ID), wide, clockText(a.At, p.now), stateWord(a.State))
	return textLine{text: shorten(front+printable(strings.ReplaceAll(text, "\n", "; ")), statusWidth)}
}

// stateWord is the ledger's word for how far a change has come, in force for one that has
// not ended.
func stateWord(state string) string {
	if state == string(ledger.Applied) {
		return "done"
	}
	return state
}

// shorten cuts text and shows that it was.
func shorten(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}

// perfdata are the figures behind a line of a monitoring plugin.
func perfdata(s *control.Status) string {
	t := &s.Table
	limit := ""
	if !t.Unlimited {
		limit = strconv.Itoa(t.Max)
	}
	return fmt.Sprintf("utilization=%.1f%%;;;0;100 count=%d;;;0;%s fill_rate=%.0f changes=%d", 100*t.Utilization, t.Count, limit, t.FillRate, len(s.Active))
}
