package main

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

type align bool

const (
	left  align = false
	right align = true
)

// A column has a head and a side on which its cells line up.
type column struct {
	head string
	align
}

// A textLine is one line of a report; heads stand out where that is possible, and what
// has an ink is written in it where there is colour.
type textLine struct {
	text string
	head bool
	ink  string // a control sequence, empty for none
}

// A topPage is a report of a census to be printed.
type topPage struct {
	view
	now    *census.Report
	before *census.Report // nil for the first one; what the changes are counted from
	watch  bool           // a page among others: it has the time and the changes
}

// lines lays the page out. It depends on nothing but the page.
func (p *topPage) lines(most int) []textLine {
	lines := []textLine{{text: p.tableLine()}, {text: readLine(p.now)}, {}}
	lines = append(append(lines, kindLines(p.now)...), textLine{})
	rows := p.view.rows(p.now)
	if p.now.Table == 0 {
		return append(lines, textLine{text: "There are no entries."})
	}
	if len(rows) == 0 {
		return append(lines, textLine{text: "There are none of this kind."})
	}
	shown := rows[:min(len(rows), most)]
	lines = append(lines, p.table(shown)...)
	return append(lines, p.rest(len(rows), len(shown))...)
}

// rest says how many rows are not shown, and that a list is cut off.
func (p *topPage) rest(all, shown int) []textLine {
	switch {
	case all < census.Rows:
		return restLines(all, shown, "", p.watch)
	case all == shown:
		return []textLine{{text: fmt.Sprintf("These are the %d largest.", all)}}
	}
	return restLines(all, shown, fmt.Sprintf(" of the %d largest", all), p.watch)
}

// restLines say how many rows are not shown, and how to see them.
func restLines(all, shown int, of string, watch bool) []textLine {
	switch {
	case all == shown:
		return nil
	case watch:
		return []textLine{{text: policy.Number(all-shown) + " more listed" + of}}
	}
	return []textLine{{text: fmt.Sprintf("%s more listed%s: -n %d shows them", policy.Number(all-shown), of, all)}}
}

// tableLine says how full the table is.
func (p *topPage) tableLine() string {
	r := p.now
	var b strings.Builder
	if p.watch {
		fmt.Fprintf(&b, "%s  ", r.Wall.Format("15:04:05"))
	}
	if r.Source != "" {
		fmt.Fprintf(&b, "%s from %s", entriesText(r.Table), sourceText(r.Source))
	} else {
		b.WriteString(entriesText(r.Table))
	}
	switch {
	case r.Max == 0:
		b.WriteString(", and no limit: nf_conntrack_max is 0")
	default:
		fmt.Fprintf(&b, ", %s of nf_conntrack_max %s", shareText(float64(r.Table)/float64(r.Max)), policy.Number(r.Max))
	}
	if p.before != nil {
		fmt.Fprintf(&b, ", %s/s", rateText(perSecond(r.Table-p.before.Table, p.before, r)))
	}
	return b.String()
}

// sourceText writes a prefix, a single address without its length.
func sourceText(prefix string) string {
	if p, err := netip.ParsePrefix(prefix); err == nil && p.IsSingleIP() {
		return p.Addr().String()
	}
	return prefix
}

func entriesText(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return policy.Number(n) + " entries"
}

// readLine says what the figures rest on.
func readLine(r *census.Report) string {
	took := policy.Span(time.Duration(r.Took * float64(time.Second)))
	if r.Full {
		return "All were read, in " + took + "."
	}
	return fmt.Sprintf("A sample: %s were read, in %s; ± holds in 99 of 100 samples.", policy.Number(r.Read), took)
}

// kindLines shows what kinds of entries there are, each in percent of all. One
// entry is of several kinds.
func kindLines(r *census.Report) []textLine {
	kinds := []struct {
		head string
		census.Figure
	}{
		{"ASSURED", r.Assured},
		{"UNREPLIED", r.Unreplied},
		{"HALF-OPEN", r.Opening},
		{"IDLE", r.Idle},
		{"CLOSING", r.Closing},
		{"DEAD UDP", r.DeadUDP},
		{"SNAT", r.SNAT},
		{"DNAT", r.DNAT},
		{"IPV6", r.IPv6},
		{"OFFLOADED", r.Offloaded},
	}
	columns, shares, sides := []column{{"", left}}, []string{"%"}, []string{"±"}
	uncertain := false
	for _, k := range kinds {
		if k.head == "OFFLOADED" && k.Entries == 0 { // few gateways have a flow table
			continue
		}
		columns = append(columns, column{k.head, right})
		shares = append(shares, pointsText(k.Share))
		sides = append(sides, pointsText(side(k.Figure, r.Table)))
		uncertain = uncertain || k.Low != k.High
	}
	rows := [][]string{shares}
	if uncertain {
		rows = append(rows, sides)
	}
	return layOut(columns, rows)
}

// table lays out rows of the view.
func (p *topPage) table(rows []viewRow) []textLine {
	columns := append([]column{}, p.names...)
	columns = append(columns, column{cmp.Or(p.count, "ENTRIES"), right}, column{"SHARE", right}, column{"±", right})
	if p.watch {
		columns = append(columns, column{"CHANGE/S", right})
	}
	columns = append(columns, p.after...)
	change := p.changes()
	var cells [][]string
	for _, r := range rows {
		line := append(append([]string{}, r.names...), p.figure(r)...)
		if p.watch {
			line = append(line, change(r))
		}
		cells = append(cells, append(line, r.after...))
	}
	return layOut(columns, cells)
}

// figure writes a row's entries, their share, and how sure they are: those of a
// sample have a ±, the others, where a sketch counted them, a bound before the
// number. It is left out before a share that rounds to the same either way.
func (p *topPage) figure(r viewRow) []string {
	number, share := policy.Number(r.Entries), shareText(ratio(r.Entries, r.of))
	bound := ""
	switch {
	case !p.now.Full || r.Low < r.Entries && r.Entries < r.High:
		return []string{number, share, pointsText(side(r.Figure, r.of))}
	case r.Entries < r.High:
		bound = "≥ "
	case r.Low < r.Entries:
		bound = "≤ "
	}
	if shareText(ratio(r.Low, r.of)) != shareText(ratio(r.High, r.of)) {
		share = bound + share
	}
	return []string{bound + number, share, ""}
}

// side is the larger side of a figure's interval as a share: near 0 and near 1
// intervals are lopsided, and this one covers both.
func side(f census.Figure, of int) float64 {
	return ratio(max(f.High-f.Entries, f.Entries-f.Low), of)
}

func ratio(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// changes returns what tells a row's change in entries per second. A row that
// was not listed before had at most what the least of the listed had, and what
// they left over: its change is at least the difference.
func (p *topPage) changes() func(viewRow) string {
	if p.before == nil {
		return func(viewRow) string { return "" }
	}
	was := map[string]int{}
	rest, least := p.before.Table, math.MaxInt
	for _, r := range p.view.rows(p.before) {
		was[strings.Join(r.names, " ")] = r.Entries
		rest -= r.Entries
		least = min(least, r.Entries)
	}
	unlisted := max(0, min(rest, least))
	if p.whole {
		unlisted = 0
	}
	return func(r viewRow) string {
		n, listed := was[strings.Join(r.names, " ")]
		if listed || unlisted == 0 {
			return rateText(perSecond(r.Entries-n, p.before, p.now))
		}
		if r.Entries <= unlisted {
			return "?"
		}
		return "≥ " + rateText(perSecond(r.Entries-unlisted, p.before, p.now))
	}
}

// perSecond spreads a change over the time between two reports.
func perSecond(n int, before, now *census.Report) float64 {
	span := (now.At - before.At).Seconds()
	if span <= 0 {
		return 0
	}
	return float64(n) / span
}

// rateText writes a change with its sign, and one decimal where that is most of it.
func rateText(rate float64) string {
	text := policy.Number(int(math.Round(rate)))
	if math.Abs(rate) < 9.95 {
		text = fmt.Sprintf("%.1f", rate)
	}
	switch {
	case text == "0.0" || text == "-0.0":
		return "0"
	case rate > 0:
		return "+" + text
	}
	return text
}

// pointsText writes a share in percent, one decimal, without the sign. Little is
// not taken for nothing.
func pointsText(share float64) string {
	switch {
	case share == 0:
		return "0"
	case share < 0.0005:
		return "<0.1"
	}
	return fmt.Sprintf("%.1f", 100*share)
}

// shareText writes a share in percent.
func shareText(share float64) string { return pointsText(share) + " %" }

// layOut aligns rows below their heads, and leaves out columns without any cell.
func layOut(columns []column, rows [][]string) []textLine {
	widths := make([]int, len(columns))
	for i := range columns {
		for _, r := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
		if widths[i] > 0 {
			widths[i] = max(widths[i], utf8.RuneCountInString(columns[i].head))
		}
	}
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = c.head
	}
	lines := []textLine{{text: alignLine(columns, widths, heads), head: true}}
	for _, r := range rows {
		lines = append(lines, textLine{text: alignLine(columns, widths, r)})
	}
	return lines
}

func alignLine(columns []column, widths []int, cells []string) string {
	var b strings.Builder
	for i, c := range columns {
		if widths[i] == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cells[i]))
		if c.align == right {
			b.WriteString(pad + cells[i])
		} else {
			b.WriteString(cells[i] + pad)
		}
	}
	return strings.TrimRight(b.String(), " ")
}
