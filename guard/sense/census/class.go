package census

import (
	"math"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// wholes are the timeouts in seconds. One that is not there is longer than what any
// entry has left.
func wholes(t *timeout.Table) (w [timeout.Classes]uint32) {
	for c, seconds := range t.Of {
		if w[c] = uint32(seconds); seconds == 0 {
			w[c] = math.MaxUint32
		}
	}
	return w
}

// classes are the rows of classes, without empty ones.
func (t *tally) classes(s scale) []Class {
	list := []Class{}
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		bins, total := t.bins(c, s)
		if total == 0 {
			continue
		}
		list = append(list, Class{
			Name: c.Name(), Timeout: t.timeouts.Of[c], Others: append([]int{}, t.timeouts.Others(c)...),
			Figure: s.figure(total, 0), Remaining: bins,
		})
	}
	slices.SortStableFunc(list, func(a, b Class) int { return byEntries(a.Figure, b.Figure) })
	return list
}

// bins are those of a class that are not empty, and how many entries were seen in
// all of them. The bin that has the timeout in its midst is two: how many of its
// entries have more left is known from how many of all have.
func (t *tally) bins(c timeout.Class, s scale) (list []Bin, total int) {
	add := func(from, to uint32, seen [2]uint32) {
		n := int(seen[0] + seen[1])
		if n == 0 {
			return
		}
		list = append(list, Bin{int(from), int(to), s.entries(n), s.entries(int(seen[1]))})
		total += n
	}
	longer, whole := t.longer[c], t.whole[c]
	for bin := bins - 1; bin >= 0; bin-- {
		from, to := span(bin)
		seen := [2]uint32{t.remaining[c][0][bin], t.remaining[c][1][bin]}
		if from <= whole && whole < to {
			add(whole+1, to, longer)
			to, seen = whole, [2]uint32{seen[0] - longer[0], seen[1] - longer[1]}
		} else if from > whole {
			longer = [2]uint32{longer[0] - seen[0], longer[1] - seen[1]}
		}
		add(from, to, seen)
	}
	slices.Reverse(list)
	return list, total
}
