package page

import (
	"fmt"
	"math"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A terminal page is 80 columns wide: a label of 9, the axis, and the plot.
const (
	pageColumns = 80
	labelWidth  = 9
	plotColumns = pageColumns - labelWidth - 2
	plotRows    = 10
)

// A textPlot draws a window of a report in letters.
type textPlot struct {
	r     *Report
	u     ruler
	cells []cell
	scale scale
}

func newTextPlot(r *Report, w window) *textPlot {
	return &textPlot{
		r: r, u: ruler{w, 0, plotColumns - 1},
		cells: r.series.held(r.series.cells(w.from, w.to, plotColumns)), scale: r.scaleOf(w),
	}
}

func (p *textPlot) write(b *strings.Builder) {
	p.changes(b)
	p.table(b)
	p.axis(b)
	p.losses(b)
}

// line writes one line of the plot behind its label.
func line(b *strings.Builder, label, sep, text string) {
	fmt.Fprintf(b, "%s\n", strings.TrimRight(fmt.Sprintf("%*s %s%s", labelWidth, label, sep, text), " "))
}

// changes draws a line for each, from ▲ where it was made to ▼ where it was taken
// back, × where it was given up or refused.
func (p *textPlot) changes(b *strings.Builder) {
	marks, rows := arrange(p.r.marks(p.u), plotColumns, func(letters int) float64 { return float64(letters + 2) })
	lines := make([][]rune, rows)
	for i := range lines {
		lines[i] = []rune(strings.Repeat(" ", plotColumns+8))
	}
	for i := range marks {
		marks[i].draw(lines[marks[i].row])
	}
	for i, l := range lines {
		label := ""
		if i == 0 {
			label = "changes"
		}
		line(b, label, "│", string(l[:min(len(l), plotColumns)]))
	}
}

// draw writes a mark into its row.
func (m *mark) draw(row []rune) {
	label := []rune(m.label())
	at, end := int(m.made), min(int(m.ended), plotColumns-1)
	if m.advice {
		write(row, min(at, plotColumns-len(label)), label)
		return
	}
	begin := append([]rune("▲"), label...)
	if m.before {
		begin = append([]rune("◀"), label...)
	}
	if m.state == policy.Failed {
		write(row, at, append([]rune("×"), label...))
		return
	}
	for i := at; i <= end; i++ {
		row[i] = '─'
	}
	write(row, at, begin)
	sign := map[policy.ChangeState]string{policy.Undone: "▼", policy.Yielded: "×"}[m.state]
	if m.after {
		sign = "▶"
	}
	write(row, max(end, at+len(begin)), []rune(sign))
}

func write(row []rune, at int, text []rune) {
	for i, c := range text {
		if at+i >= 0 && at+i < len(row) {
			row[at+i] = c
		}
	}
}

// table draws the entries as blocks, by eighths of a row, and the limit as a line.
func (p *textPlot) table(b *strings.Builder) {
	step := p.scale.top / plotRows
	for row := plotRows - 1; row >= 0; row-- {
		label := ""
		if row == plotRows-1 || row == plotRows/2-1 {
			label = policy.Number(int(math.Round(step * float64(row+1))))
		}
		text := []rune(strings.Repeat(" ", plotColumns))
		for _, c := range p.cells {
			text[c.at] = p.glyph(c, row)
		}
		line(b, label, "│", string(text))
	}
}

const eighths = " ▁▂▃▄▅▆▇█"

// glyph is what shows of a cell in a row. What is in use at all shows.
func (p *textPlot) glyph(c cell, row int) rune {
	glyphs := []rune(eighths)
	unit := p.scale.top / plotRows / 8
	high := int(math.Round(float64(c.high) / unit))
	if c.high > 0 {
		high = max(high, 1)
	}
	filled := glyphs[max(0, min(high-8*row, 8))]
	// The top row belongs to the limit where it lies on its upper edge.
	limitRow := min(int(float64(c.limitHigh)/p.scale.top*plotRows), plotRows-1)
	if filled == ' ' && !p.scale.off && c.limitHigh > 0 && limitRow == row {
		return '─'
	}
	return filled
}

// axis writes the times beneath.
func (p *textPlot) axis(b *strings.Builder) {
	marks := []rune(strings.Repeat("─", plotColumns))
	texts := []rune(strings.Repeat(" ", plotColumns+10))
	free := 0
	for _, m := range p.r.moments(p.u.window, 6) {
		at := int(p.u.at(m.at))
		if at < free || at+len(m.text) > plotColumns {
			continue
		}
		marks[at] = '┬'
		write(texts, at, []rune(m.text))
		free = at + len(m.text) + 2
	}
	line(b, "0", "└", string(marks))
	line(b, "UTC", " ", string(texts[:plotColumns]))
}

// losses draws what was lost as one row of bars.
func (p *textPlot) losses(b *strings.Builder) {
	most := uint64(0)
	for _, c := range p.cells {
		most = max(most, c.lost.Sum())
	}
	if most == 0 {
		return
	}
	text, glyphs := []rune(strings.Repeat(" ", plotColumns)), []rune(eighths)
	for _, c := range p.cells {
		if n := c.lost.Sum(); n > 0 {
			text[c.at] = glyphs[max(1, int(math.Round(float64(n)/float64(most)*8)))]
		}
	}
	line(b, "lost", "│", string(text))
	per := p.u.span() / plotColumns
	line(b, "", " ", fmt.Sprintf("at most %s in %s", policy.Number(int(most)), policy.Span(per)))
}
