package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The screen is so many columns wide, and what a line is about takes the first of them.
const (
	statusWidth = 80
	labelWidth  = 10
)

// A sight is what asking for the status has come to.
type sight struct {
	status *control.Status
	failed error // why there is none; status is the one before then, if there was one
	now    time.Time
}

// A statusPage is a sight to be printed.
type statusPage struct {
	sight
	colour bool
}

// inks are the colours of the grades: green, yellow, red, all bold.
var inks = [...]string{fine: "\x1b[1;32m", warning: "\x1b[1;33m", critical: "\x1b[1;31m"}

// lines lays the page out, with so many lines of lists at most.
func (p *statusPage) lines(most int) []textLine {
	if p.status == nil {
		return p.verdict()
	}
	lines := append(p.verdict(), textLine{})
	lines = append(lines, p.tableLines()...)
	lines = append(lines, p.daemonLines()...)
	for _, l := range p.lists() {
		some := l.lines(most)
		most -= len(some)
		lines = append(lines, some...)
	}
	return lines
}

// verdict is what is wrong and what is being done, in that order.
func (p *statusPage) verdict() []textLine {
	list := p.findings()
	g := worst(list)
	ink := ""
	if p.colour {
		ink = inks[g]
	}
	if len(list) == 0 {
		list = []finding{{fine, wellText(p.status)}}
	}
	var lines []textLine
	for _, f := range list {
		label := f.grade.String()
		if len(lines) > 0 && f.grade == g {
			label = ""
		}
		for i, l := range labelled(label, f.text) {
			l.head, l.ink = ink == "" && i == 0 && len(lines) == 0, ""
			if f.grade == g {
				l.ink = ink
			}
			lines = append(lines, l)
		}
	}
	if p.failed != nil {
		return lines
	}
	return append(lines, labelled("doing", doing(p.status, p.now))...)
}

// findings lists what is wrong, first of all that there is no answer.
func (p *statusPage) findings() []finding {
	if p.failed == nil {
		return findings(p.status, p.now)
	}
	text := p.failed.Error()
	if p.status != nil {
		text += "; what follows is as of " + clockText(p.status.At, p.now)
	}
	return []finding{{critical, text}}
}

// wellText says that all is well.
func wellText(s *control.Status) string {
	if s.Table.Unlimited {
		return "nothing to guard: the table has no limit (nf_conntrack_max is 0)"
	}
	return "healthy"
}

// tableLines are the figures of the table, and what the policy makes of them.
func (p *statusPage) tableLines() []textLine {
	s := p.status
	var lines []textLine
	if t := &s.Table; t.Unlimited {
		lines = labelled("table", figures(s)+"; no limit")
	} else {
		lines = labelled("table", bar(t.Utilization)+fmt.Sprintf(" %s of %s", percentText(t.Utilization), policy.Number(t.Max)))
		lines = append(lines, labelled("", figures(s))...)
	}
	lines = append(lines, textLine{text: label("last hour") + hourText(s)})
	if s.Evidence != "" {
		lines = append(lines, labelled("why", s.Evidence)...)
	}
	if e := s.Episode; e != nil {
		lines = append(lines, labelled("episode", fmt.Sprintf("%s, for %s", e.Name, policy.Span(max(0, p.now.Sub(e.Since)))))...)
	}
	return lines
}

// figures are count, rate and what it comes to.
func figures(s *control.Status) string {
	t := &s.Table
	text := entriesText(t.Count)
	switch rate := math.Round(t.FillRate); {
	case rate > 0:
		text += fmt.Sprintf(", filling at %s/s", policy.Number(int(rate)))
	case rate < 0:
		text += fmt.Sprintf(", draining at %s/s", policy.Number(int(-rate)))
	default:
		text += ", steady"
	}
	if t.TimeToFull != nil && t.Count < t.Max {
		text += ", full in " + secondsText(*t.TimeToFull)
	}
	return text + lossText(&s.Losses)
}

// lossText says what the kernel counts as lost.
func lossText(l *control.Losses) string {
	var parts []string
	for _, c := range []struct {
		name string
		n    uint64
	}{{"drop", l.Drop}, {"early_drop", l.EarlyDrop}, {"insert_failed", l.InsertFailed}, {"chaintoolong", l.ChainTooLong}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%s +%s", c.name, policy.Number(int(c.n))))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s in %s", strings.Join(parts, ", "), secondsText(l.Window))
}

// daemonLines are what the daemon goes by.
func (p *statusPage) daemonLines() []textLine {
	s := p.status
	of := fmt.Sprintf("mode %s, since %s, pid %d", s.Mode, clockText(s.Daemon.Since, p.now), s.Daemon.PID)
	if s.Daemon.Namespace != "" {
		of += ", guards " + s.Daemon.Namespace
	}
	lines := labelled("daemon", of)
	lines = append(lines, labelled("policy", fmt.Sprintf("%s, loaded %s", s.Policy.Source, clockText(s.Policy.Loaded, p.now)))...)
	for _, problem := range s.Policy.Problems {
		lines = append(lines, labelled("", problem)...)
	}
	return append(lines, labelled("acts", actsText(&s.Acts))...)
}

// actsText says what was done within the hour, and of which measures.
func actsText(a *control.Acts) string {
	text := fmt.Sprintf("%d of %d in the last hour", a.All.Used, a.All.Allowed)
	var parts []string
	for _, m := range measureOrder {
		if b := a.Measures[m]; b.Used > 0 {
			parts = append(parts, fmt.Sprintf("%s %d of %d", m, b.Used, b.Allowed))
		}
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}

// measureOrder is that of the policy's sections.
var measureOrder = []policy.Measure{policy.RaiseMax, policy.GrowBuckets, policy.ShortenTimeouts, policy.LimitSource, policy.Bypass}

// label fills the first columns.
func label(text string) string {
	return text + strings.Repeat(" ", max(1, labelWidth-utf8.RuneCountInString(text)))
}

// labelled writes text behind a label, in as many lines as it takes.
func labelled(name, text string) []textLine {
	return hanging(label(name), text)
}

// hanging writes text behind what stands in front of its first line, as many lines as it
// takes.
func hanging(front, text string) (lines []textLine) {
	indent := utf8.RuneCountInString(front)
	for _, part := range wrap(printable(text), statusWidth-indent) {
		lines = append(lines, textLine{text: front + part})
		front = strings.Repeat(" ", indent)
	}
	return lines
}

// wrap breaks text at spaces, and words that are too long where they have to be.
func wrap(text string, width int) []string {
	lines, line := []string{}, []rune{}
	for word := range strings.FieldsSeq(text) {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) > width {
			lines, line = append(lines, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, w...)
		for len(line) > width {
			lines, line = append(lines, string(line[:width])), slices.Clone(line[width:])
		}
	}
	return append(lines, string(line))
}
