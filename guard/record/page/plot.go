package page

import (
	"fmt"
	"math"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A layout is the size of a plot and of what is in it, in the units of its drawing:
// pixels where the page is as wide as it was made for.
type layout struct {
	name           string
	width          float64
	left, right    float64 // beside the plot, for the labels of its axes
	table, lost    float64 // heights of its two parts
	letter         float64 // mean width of a letter
	yTicks, xTicks int
	shortNumbers   bool
}

// The layouts: for screens, for paper and tablets, and for telephones. The style sheet
// shows the one in which letters have their size.
var (
	wide = layout{
		name: "wide", width: 1080, left: 74, right: 66, table: 300, lost: 84, letter: 7.0, yTicks: 5, xTicks: 9,
	}
	medium = layout{
		name: "medium", width: 660, left: 66, right: 60, table: 260, lost: 74, letter: 7.0, yTicks: 5, xTicks: 6,
	}
	narrow = layout{
		name: "narrow", width: 340, left: 40, right: 34, table: 220, lost: 64, letter: 6.6, yTicks: 4, xTicks: 4,
		shortNumbers: true,
	}
)

// The heights of what is above and between the two parts.
const (
	rowHeight    = 23
	ribbonHeight = 20
	partsApart   = 30
	axisHeight   = 24
	markSize     = 18 // diameter of a mark's end
)

// A plot is a drawing of a window of a report, ready for the template.
type plot struct {
	Name, Title, Desc     string
	Width, Height         float64
	Left, Right           float64 // edges of the drawing proper
	Top, Bottom           float64 // of the part with the entries
	LostTop, LostBottom   float64
	Episode               area
	Ribbon                []segment
	Marks                 []drawnMark
	YTicks, XTicks, Lost  []tick
	Area, Count, Limit    string
	High, Low, Ceiling    string
	EndLabels             []tick // beside the right edge
	LimitLabels           []tick
	Peak                  *tick
	Drops, Faileds, Early string // bars
	Gaps                  []area
	LostCaption           string
	LimitOff              string // what is said of a limit above the plot
	TimeY                 float64

	r      *Report
	u      ruler
	lay    layout
	scale  scale
	series []bucket
}

// An area is a stretch of the plot from top to bottom.
type area struct{ X, Width float64 }

// A segment is a diagnosis while it stood.
type segment struct {
	area
	Y     float64
	Text  string
	Title string
}

// A tick is a word at a place.
type tick struct {
	X, Y   float64
	Text   string
	Anchor string // of the word: start, middle or end
}

// drawing makes a plot.
func (r *Report) drawing(w window, lay layout, title string) *plot {
	p := &plot{
		Name: lay.name, Title: title, Width: lay.width, Left: lay.left, Right: lay.width - lay.right,
		r: r, lay: lay, u: ruler{w, lay.left, lay.width - lay.left - lay.right}, scale: r.scaleOf(w),
	}
	for _, c := range r.series.cells(w.from, w.to, int(p.u.width)) {
		p.series = append(p.series, c.bucket)
	}
	p.Desc = r.summary()
	p.place(p.drawMarks())
	p.drawFrame()
	p.drawTable()
	p.drawLines()
	p.drawPeak()
	p.drawLosses()
	return p
}

// place divides the height below the rows of marks.
func (p *plot) place(rows int) {
	y := float64(rows)*rowHeight + 4
	p.drawRibbon(y)
	p.Top = y + ribbonHeight + 4
	p.Bottom = p.Top + p.lay.table
	p.LostTop = p.Bottom + partsApart
	p.LostBottom = p.LostTop + p.lay.lost
	if p.mostLost() == 0 {
		p.LostBottom = p.LostTop + 1
	}
	p.TimeY = p.LostBottom + 16
	p.Height = p.LostBottom + axisHeight
}

// y is the height of a number of entries.
func (p *plot) y(count float64) float64 {
	return p.Bottom - min(count/p.scale.top, 1)*(p.Bottom-p.Top)
}

// stretch is the part of a span of time that the plot shows.
func (p *plot) stretch(from, to time.Duration) area {
	left, right := p.u.at(max(from, p.u.from)), p.u.at(min(to, p.u.to))
	return area{round(left), round(max(right-left, 0))}
}

// drawRibbon shows what the trouble was taken for, and when.
func (p *plot) drawRibbon(y float64) {
	r := p.r
	for i, d := range r.Diagnoses {
		until := r.closed
		if i+1 < len(r.Diagnoses) {
			until = r.Diagnoses[i+1].at
		}
		if until < p.u.from || d.at > p.u.to {
			continue
		}
		s := segment{area: p.stretch(d.at, until), Y: y, Title: letter(i) + ": " + diagnosisText(d)}
		for _, text := range []string{letter(i) + "  " + ribbonText(d), letter(i)} {
			if s.Text == "" && float64(len(text))*p.lay.letter+8 <= s.Width {
				s.Text = text
			}
		}
		p.Ribbon = append(p.Ribbon, s)
	}
	p.Episode = p.stretch(r.opened, r.closed)
}

func ribbonText(d Diagnosis) string {
	if d.Pattern != policy.NoPattern {
		return fmt.Sprintf("%s (%s)", d.Cause, d.Pattern)
	}
	return string(d.Cause)
}

// letter names the i-th diagnosis.
func letter(i int) string {
	if i >= 26 {
		return letter(i/26-1) + letter(i%26)
	}
	return string(rune('a' + i))
}

// drawFrame makes the axes.
func (p *plot) drawFrame() {
	number := func(v float64) string { return policy.Number(int(v)) }
	if p.lay.shortNumbers {
		number = shortNumber
	}
	for _, v := range ticks(p.scale.top, p.lay.yTicks) {
		p.YTicks = append(p.YTicks, tick{p.Left, round(p.y(v)), number(v), "end"})
	}
	for _, m := range p.r.moments(p.u.window, p.lay.xTicks) {
		t := tick{round(p.u.at(m.at)), p.LostBottom, m.text, "middle"}
		if t.X-float64(len(t.Text))/2*p.lay.letter < p.Left { // the name of the axis is there
			t.Text = ""
		}
		p.XTicks = append(p.XTicks, t)
	}
	for i := 1; i < len(p.series); i++ {
		if a, b := p.series[i-1], p.series[i]; p.r.series.apart(a, b) {
			p.Gaps = append(p.Gaps, p.stretch(a.to, b.from))
		}
	}
}

// drawTable makes the line of the entries and the area beneath it.
func (p *plot) drawTable() {
	var line, area path
	begin := 0.0
	for i, b := range p.series {
		x := p.u.at(b.from)
		points := []int{b.first, b.high, b.low, b.last}
		if i == 0 || p.r.series.apart(p.series[i-1], b) {
			area.close(begin, p.Bottom)
			begin = x
			line.move(x, p.y(float64(b.first)))
			area.move(x, p.y(float64(b.first)))
			points = points[1:]
		}
		for _, n := range points {
			line.to(x, p.y(float64(n)))
			area.to(x, p.y(float64(n)))
		}
	}
	area.close(begin, p.Bottom)
	p.Count, p.Area = line.String(), area.String()
}

// drawLines makes the limit, the marks below it and the approved ceiling.
func (p *plot) drawLines() {
	if p.scale.off {
		p.LimitOff = "nf_conntrack_max, " + policy.Number(p.r.Peak.Max) + ", is far above the plot"
		return
	}
	var limit, high, low path
	last := 0
	for i, b := range p.series {
		x, cut := p.turn(i), i == 0 || p.r.series.apart(p.series[i-1], b)
		for _, n := range []int{b.limitLow, b.limitHigh, b.limit} {
			limit.step(x, p.y(float64(n)), cut)
			cut = false
		}
		high.step(x, p.y(float64(b.limit)*p.r.watch.High), i == 0)
		low.step(x, p.y(float64(b.limit)*p.r.watch.Low), i == 0)
		last = b.limit
	}
	p.Limit, p.High, p.Low = limit.String(), high.String(), low.String()
	if last == 0 {
		p.Limit, p.High, p.Low = "", "", ""
		return
	}
	if c := float64(p.r.ceiling); c > 0 && c <= p.scale.top {
		p.Ceiling = fmt.Sprintf("M%g %gH%g", p.Left, round(p.y(c)), p.Right)
	}
	p.labelLines(float64(last))
}

// turn is where a bucket begins in the line of the limit.
func (p *plot) turn(i int) float64 {
	b := p.series[i]
	if i == 0 || p.r.series.apart(p.series[i-1], b) {
		return p.u.at(b.from)
	}
	return p.u.at(p.r.turned(p.series[i-1].to, b.from))
}

// turned is when we have changed the limit between two readings, which see it only
// afterwards; the later of the two if we have not.
func (r *Report) turned(from, to time.Duration) time.Duration {
	for i := range r.Changes {
		c := &r.Changes[i]
		for _, at := range []time.Duration{c.made, c.since} {
			if c.Measure == policy.RaiseMax && at > from && at < to {
				return at
			}
		}
	}
	return to
}

// labelLines writes the limit at each of its values, where there is room, and the
// names of the marks at their end.
func (p *plot) labelLines(last float64) {
	free := p.Left
	for i, b := range p.series {
		if i > 0 && b.limit == p.series[i-1].limit || b.limit == 0 {
			continue
		}
		x, end := max(p.turn(i), free), p.Right
		for j := i + 1; j < len(p.series) && end == p.Right; j++ {
			if p.series[j].limit != b.limit {
				end = p.turn(j)
			}
		}
		text := policy.Number(b.limit)
		if need := float64(len(text))*p.lay.letter + 8; end-x >= need {
			p.LimitLabels = append(p.LimitLabels, tick{round(x + 4), round(p.y(float64(b.limit)) - 6), text, "start"})
			free = x + need
		}
	}
	for _, m := range []struct {
		at   float64
		text string
	}{{last, "limit"}, {last * p.r.watch.High, policy.Percent(p.r.watch.High)}, {last * p.r.watch.Low, policy.Percent(p.r.watch.Low)}} {
		p.endLabel(p.y(m.at)+4, m.text)
	}
	if p.Ceiling != "" && float64(p.r.ceiling) != last {
		p.endLabel(p.y(float64(p.r.ceiling))+4, "ceiling")
	}
}

// endLabel writes a word beside the right edge, unless another is there.
func (p *plot) endLabel(y float64, text string) {
	for _, l := range p.EndLabels {
		if math.Abs(l.Y-y) < 13 {
			return
		}
	}
	p.EndLabels = append(p.EndLabels, tick{p.Right + 6, round(y), text, "start"})
}

// drawPeak marks the reading of the highest utilization, on the side where there is
// more room.
func (p *plot) drawPeak() {
	k := &p.r.Peak
	if k.At.IsZero() || !p.u.holds(k.at) {
		return
	}
	t := &tick{X: round(p.u.at(k.at)), Y: round(p.y(float64(k.Count))), Text: exactPercent(k.Utilization), Anchor: "start"}
	if k.Max == 0 {
		t.Text = policy.Number(k.Count)
	}
	if t.X > (p.Left+p.Right)/2 {
		t.Anchor = "end"
	}
	p.Peak = t
}
