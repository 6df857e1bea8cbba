package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// adviceWidth is that of a terminal, and of mail.
const adviceWidth = 80

// An advicePage is an advice on its way to people.
type advicePage struct{ lines []textLine }

// lines lays the advice out. It depends on nothing but the advice.
func (a *advice) lines() []textLine {
	var p advicePage
	p.text(fmt.Sprintf("Sizes for good of the connection-tracking table, %s", a.Time.Format("2006-01-02 15:04")))
	p.text(a.restsOn())
	if a.NotNow != "" {
		p.text(a.NotNow)
	}
	p.value(&a.Max, a.Seen.Provisional)
	p.value(&a.Buckets, a.Seen.Provisional)
	p.alerts(a.Alerts, a.Seen.Provisional)
	for _, t := range a.Timeouts {
		p.head("Choice: %s = %d  (now %d)", t.Key, t.To, t.Now)
		p.fact("why", t.Reason)
		p.fact("frees", t.Gain)
		p.fact("trade-off", t.TradeOff)
	}
	for i := range a.Pools {
		p.pool(&a.Pools[i])
	}
	for i := range a.Untracked {
		p.untracked(&a.Untracked[i])
	}
	p.notes(a.Notes)
	p.files(a.Files)
	return p.lines
}

// restsOn says where the figures come from.
func (a *advice) restsOn() string {
	text := fmt.Sprintf("The figures rest on %s of readings in %s", spanRead(&a.Seen), a.StateDir)
	if a.Seen.Readings > 0 {
		text += fmt.Sprintf(", %s readings of the flight record", policy.Number(a.Seen.Readings))
	}
	if a.Census != noCensus {
		text += ", and a census of " + a.Census
	}
	text += "."
	if a.Seen.Provisional {
		text += " THAT IS LESS THAN A DAY: ALL FIGURES ARE PROVISIONAL."
	}
	return text
}

// spanRead is for how long the table was read.
func spanRead(s *policy.Seen) string {
	if s.Hours < 2 {
		return policy.Span(time.Duration(s.Seconds * float64(time.Second)).Round(time.Minute))
	}
	return fmt.Sprintf("%d hours", s.Hours)
}

// value prints one kernel parameter so that it can be copied.
func (p *advicePage) value(v *policy.SizedValue, provisional bool) {
	now := fmt.Sprintf("now %d", v.Now)
	switch {
	case v.Now == v.To && v.Lent == 0:
		now = "as it is now"
	case v.Now == 0:
		now = "now no limit"
	}
	if v.Lent != 0 {
		now += fmt.Sprintf(", for the time being %d by the guardian", v.Lent)
	}
	if provisional {
		now += ", provisional"
	}
	p.head("%s = %d  (%s)", v.Key, v.To, now)
	p.fact("why", v.Reason)
	p.fact("cost", v.Cost)
	p.fact("trade-off", v.TradeOff)
}

// lossesAlert is what is always worth an alert.
const lossesAlert = "Any rise of drop or early_drop in /proc/net/stat/nf_conntrack: connections fail, or others are evicted for them. " +
	"Of insert_failed a few a minute are normal (clashes)."

func (p *advicePage) alerts(list []policy.Alert, provisional bool) {
	if provisional {
		p.head("Alerts  (provisional)")
	} else {
		p.head("Alerts")
	}
	for _, a := range list {
		p.fact(a.Name, fmt.Sprintf("nf_conntrack_count over %s of nf_conntrack_max (%s). %s", policy.Percent(a.Utilization), entriesText(a.Entries), a.Reason))
	}
	p.fact("losses", lossesAlert)
}

func (p *advicePage) pool(s *policy.SizedPool) {
	p.head("Source NAT to %s port %s %s: %s needed  (now %d)", s.Dst, portText(s.Proto, s.Port), s.Proto, addressesText(s.Needed), s.Addresses)
	p.fact("why", s.Reason)
	if s.TradeOff != "" {
		p.fact("trade-off", s.TradeOff)
	}
}

func addressesText(n int) string {
	if n == 1 {
		return "1 address"
	}
	return policy.Number(n) + " addresses"
}

func (p *advicePage) untracked(u *policy.UntrackedAdvice) {
	p.head("Choice: no tracking to %s port %d %s", u.Addr, u.Port, u.Proto)
	p.fact("why", u.Reason)
	p.fact("frees", entriesText(u.Entries)+", and their lookups.")
	p.fact("rules", "nftables, in a chain of prerouting and one of output, both at priority raw:")
	for _, r := range u.Rules {
		p.lines = append(p.lines, textLine{text: strings.Repeat(" ", adviceIndent) + r})
	}
	p.fact("trade-off", u.TradeOff)
}

func (p *advicePage) notes(list []string) {
	if len(list) > 0 {
		p.head("Notes")
	}
	for _, n := range list {
		p.item(n)
	}
}

func (p *advicePage) files(list []string) {
	if len(list) == 0 {
		return
	}
	p.head("Written")
	for _, f := range list {
		p.lines = append(p.lines, textLine{text: "  " + f})
	}
}

// head begins a part.
func (p *advicePage) head(format string, args ...any) {
	p.lines = append(p.lines, textLine{})
	for _, l := range breakLines(fmt.Sprintf(format, args...), adviceWidth) {
		p.lines = append(p.lines, textLine{text: l, head: true})
	}
}

// text is lines that are not indented.
func (p *advicePage) text(text string) {
	for _, l := range breakLines(text, adviceWidth) {
		p.lines = append(p.lines, textLine{text: l})
	}
}

// item is one of a list.
func (p *advicePage) item(text string) {
	before := "  - "
	for _, l := range breakLines(text, adviceWidth-len(before)) {
		p.lines = append(p.lines, textLine{text: before + l})
		before = "    "
	}
}

// adviceIndent is where facts begin, behind what they are.
const adviceIndent = 13

// fact is what is said of a part, behind its name.
func (p *advicePage) fact(name, text string) {
	indent := strings.Repeat(" ", adviceIndent)
	for i, l := range breakLines(text, adviceWidth-adviceIndent) {
		before := indent
		if i == 0 {
			before = fmt.Sprintf("  %-*s", adviceIndent-2, name)
		}
		p.lines = append(p.lines, textLine{text: strings.TrimRight(before+l, " ")})
	}
}

// unit is behind a number, where no line is broken: what is no space holds it there.
var unit = regexp.MustCompile(`(\d) (%|(?:MiB|min|h|s)\b)`)

const held = "\x1f"

// breakLines breaks a text between words.
func breakLines(text string, width int) []string {
	lines := wrap(unit.ReplaceAllString(text, "${1}"+held+"${2}"), width)
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], held, " ")
	}
	return lines
}
