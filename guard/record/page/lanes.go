package page

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A mark is a change above a plot, from where it was made to where it ended, or
// several alike that lie too close together to be told apart. Places are in the
// plot's own unit: pixels or columns.
type mark struct {
	ids         []int
	advice      bool // a point: what would have been done
	measure     policy.Measure
	state       policy.ChangeState
	title       string
	made, ended float64
	before      bool // it was made before the plot begins
	after       bool // it ends after the plot does, or has not ended
	row         int
}

// label names the changes of a mark: 3, or 3–9.
func (m *mark) label() string {
	prefix, first, last := "", m.ids[0], m.ids[len(m.ids)-1]
	if m.advice {
		prefix = "A"
	}
	switch {
	case first == last:
		return fmt.Sprintf("%s%d", prefix, first)
	case last-first == len(m.ids)-1:
		return fmt.Sprintf("%s%d–%d", prefix, first, last)
	}
	return fmt.Sprintf("%s%d…%d", prefix, first, last)
}

// A ruler places times on a plot.
type ruler struct {
	window
	left, width float64
}

func (u ruler) at(t time.Duration) float64 {
	return u.left + float64(t-u.from)/float64(max(u.span(), 1))*u.width
}

// holds reports whether a time is on the plot.
func (u ruler) holds(t time.Duration) bool { return t >= u.from && t <= u.to }

// marks are the changes and the advice that a plot shows, each by itself.
func (r *Report) marks(u ruler) (out []mark) {
	for i := range r.Changes {
		if m, ok := r.Changes[i].mark(u); ok {
			out = append(out, m)
		}
	}
	for i, a := range r.Advice {
		if u.holds(a.at) {
			at := u.at(a.at)
			out = append(out, mark{ids: []int{i + 1}, advice: true, measure: a.Measure, title: "advised: " + a.What, made: at, ended: at})
		}
	}
	slices.SortStableFunc(out, func(a, b mark) int { return cmp.Compare(a.made, b.made) })
	return out
}

// mark places a change; one that was not in force while the plot lasts has no place.
func (c *Change) mark(u ruler) (m mark, ok bool) {
	ended := c.since
	if c.State == policy.Applied {
		ended = u.to + 1
	}
	if c.made > u.to || ended < u.from {
		return m, false
	}
	return mark{
		ids: []int{c.ID}, measure: c.Measure, state: c.State, title: c.What,
		made: u.at(max(c.made, u.from)), ended: u.at(min(ended, u.to)),
		before: c.made < u.from, after: ended > u.to,
	}, true
}

// mostRows bounds the room that marks take above a plot.
const mostRows = 8

// arrange gives each mark a row in which it has room for itself, and joins those that
// lie close together if there are too many otherwise. size is the width of a mark's
// end with a label of so many letters.
func arrange(marks []mark, width float64, size func(letters int) float64) (out []mark, rows int) {
	for near := 0.0; ; near = max(2*near, width/500) {
		out = join(marks, near)
		if rows = stackUp(out, size); rows <= mostRows || near > width {
			return out, rows
		}
	}
}

// join puts marks into one whose ends are as near as that.
func join(marks []mark, near float64) (out []mark) {
	for _, m := range marks {
		i := slices.IndexFunc(out, func(o mark) bool { return near > 0 && o.like(m, near) })
		if i < 0 {
			m.ids = slices.Clone(m.ids)
			out = append(out, m)
			continue
		}
		o := &out[i]
		o.ids = append(o.ids, m.ids...)
		slices.Sort(o.ids)
		o.ended = max(o.ended, m.ended)
		o.title = fmt.Sprintf("%d times %s", len(o.ids), m.measure)
	}
	return out
}

func (m *mark) like(o mark, near float64) bool {
	return m.measure == o.measure && m.advice == o.advice && m.state == o.state && m.after == o.after && m.before == o.before &&
		max(m.made-o.made, o.made-m.made) < near && max(m.ended-o.ended, o.ended-m.ended) < near
}

// stackUp gives each mark the first row that is free where it lies.
func stackUp(marks []mark, size func(letters int) float64) int {
	var free []float64 // from where on each row is
	for i := range marks {
		m := &marks[i]
		wide := size(len([]rune(m.label())))
		from, to := m.made-wide/2, max(m.ended, m.made)+wide/2
		if !m.advice && !m.after {
			to = max(to, m.made+1.6*wide)
		}
		m.row = slices.IndexFunc(free, func(f float64) bool { return f <= from })
		if m.row < 0 {
			m.row, free = len(free), append(free, 0)
		}
		free[m.row] = to
	}
	return len(free)
}
