package page

import (
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A drawnMark is a change above the plot, with its ends.
type drawnMark struct {
	IDs                string // of the changes, for who looks at the page by program
	Title              string
	Label              string
	Kind               string // made, advice or failed
	Y, From, To        float64
	Begin, End         *badge // nil where the plot does not show it
	LineFrom, LineTo   float64
	Before, After      bool // arrows to the edge
	HairBegin, HairEnd float64
}

// A badge is a rounded box with a label.
type badge struct {
	X, Y, Width, TextX, TextY float64
	Kind, Label               string
}

// drawMarks puts the marks into rows and returns how many there are.
func (p *plot) drawMarks() (rows int) {
	marks, rows := arrange(p.r.marks(p.u), p.u.width, badgeWidth)
	for i := range marks {
		p.Marks = append(p.Marks, p.drawMark(&marks[i]))
	}
	return rows
}

// badgeWidth is that of a label with so many letters.
func badgeWidth(letters int) float64 { return max(markSize, float64(letters)*7+10) }

func (p *plot) drawMark(m *mark) drawnMark {
	y := float64(m.row)*rowHeight + rowHeight/2 + 2
	label := m.label()
	w := badgeWidth(len([]rune(label)))
	d := drawnMark{IDs: idList(m.ids), Title: label + ": " + m.title, Label: label, Kind: "made", Y: y, Before: m.before, After: m.after}
	d.From, d.To = round(m.made), round(m.ended)
	switch {
	case m.advice:
		d.Kind = "advice"
	case m.state == policy.Failed:
		d.Kind = "failed"
	}
	if !m.before {
		d.Begin = newBadge(m.made, y, w, d.Kind, label)
		d.HairBegin = d.From
	}
	if d.Kind != "made" {
		return d
	}
	d.LineFrom, d.LineTo = d.From, d.To
	if !m.after {
		end := m.ended
		if d.Begin != nil {
			end = max(end, m.made+w+1)
		}
		d.End = newBadge(end, y, w, string(m.state), label)
		d.HairEnd, d.LineTo = d.To, round(end)
	}
	return d
}

func newBadge(x, y, width float64, kind, label string) *badge {
	return &badge{round(x - width/2), y - markSize/2, width, round(x), y + 4, kind, label}
}

func idList(ids []int) string {
	var out []string
	for _, id := range ids {
		out = append(out, strconv.Itoa(id))
	}
	return strings.Join(out, " ")
}
