package policy

import (
	"slices"
	"time"
)

// slots is how many points the window is kept in. Sixteen bound the slope to
// 120 pairs whatever the pace of the readings.
const slots = 16

// A slot is one sixteenth of the window, or one reading when readings are rarer.
type slot struct {
	start    time.Duration // first reading in the slot
	at       time.Duration // newest reading in the slot
	count    int           // entries at the newest reading, and all that were refused until then
	losses   losses
	counters Counters
}

// history is what is remembered of the last Watch.Window: a ring of slots. It
// is a plain value, so a State can be copied and compared.
type history struct {
	ring   [slots]slot
	n      int // slots in use
	newest int // index of the newest slot

	// The two newest readings before the present one and their intervals' slopes.
	prev      point
	prevMax   int
	lastSlope [2]float64 // entries per second over the last two intervals, newest first
	readings  int
	total     losses // since the first reading
}

type point struct {
	at    time.Duration
	count int
}

// push takes in one reading. Readings that do not move time forward are ignored.
func (h *history) push(s *Snapshot, window, now time.Duration) {
	if h.readings > 0 && now <= h.prev.at {
		return
	}
	var lost losses
	var counted Counters
	if h.readings > 0 {
		counted = s.Losses
		dt := (now - h.prev.at).Seconds()
		lost = attribute(s.Losses, h.fullest(s))
		h.lastSlope[1] = h.lastSlope[0]
		h.lastSlope[0] = (float64(s.Count-h.prev.count) + float64(lost.full)) / dt
	}
	h.readings++
	h.total = h.total.plus(lost)
	h.prev, h.prevMax = point{now, s.Count}, s.Max
	h.store(s, lost, counted, window, now)
}

// fullest is the higher utilization of the interval's two ends. The earlier end
// is taken with the earlier max: drops that happened just before our own raise
// belong to the table as it was.
func (h *history) fullest(s *Snapshot) float64 {
	u := s.Utilization()
	if h.prevMax > 0 {
		u = max(u, float64(h.prev.count)/float64(h.prevMax))
	}
	return u
}

func (h *history) store(s *Snapshot, lost losses, counted Counters, window, now time.Duration) {
	cur := &h.ring[h.newest]
	if h.n == 0 || now-cur.start >= window/slots {
		if h.n > 0 {
			h.newest = (h.newest + 1) % slots
		}
		h.n = min(h.n+1, slots)
		cur = &h.ring[h.newest]
		*cur = slot{start: now}
	}
	// What a full table refused would have been in it.
	cur.at, cur.count = now, s.Count+int(h.total.full)
	cur.losses = cur.losses.plus(lost)
	cur.counters = cur.counters.plus(counted)
}

// each calls f for the slots whose newest reading is at or after since, newest first.
func (h *history) each(since time.Duration, f func(*slot)) {
	for i := range h.n {
		s := &h.ring[(h.newest-i+slots)%slots]
		if s.at < since {
			return
		}
		f(s)
	}
}

// lost sums what was lost in the slots since a moment.
func (h *history) lost(since time.Duration) (l losses, c Counters) {
	h.each(since, func(s *slot) {
		l, c = l.plus(s.losses), c.plus(s.counters)
	})
	return l, c
}

// growth is the table's growth in entries per second, negative when it drains, by
// a slow and a fast estimate.
//
// The slow one is the Theil–Sen slope over the window, the median of the slopes
// of all pairs of points: up to 29 % of outliers don't move it. It is 0 until
// half a window has been seen. The fast one is the lesser of the last two
// intervals' slopes: two readings in a row must agree, so one burst is no flood.
func (h *history) growth(window, now time.Duration) (slow, fast float64) {
	if h.readings < 3 {
		return 0, 0
	}
	return h.theilSen(now-window, window/2), min(h.lastSlope[0], h.lastSlope[1])
}

// theilSen is the slope of the points since a moment, 0 if they span less than
// least.
func (h *history) theilSen(since, least time.Duration) float64 {
	var points [slots]point
	n := 0
	h.each(since, func(s *slot) {
		points[n] = point{s.at, s.count}
		n++
	})
	if n < 2 || points[0].at-points[n-1].at < least {
		return 0
	}
	var slopes [slots * (slots - 1) / 2]float64
	k := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			// Points come newest first, so the earlier index is the later time. No two
			// are of the same time: push takes in only readings that move it forward.
			dt := (points[i].at - points[j].at).Seconds()
			slopes[k] = float64(points[i].count-points[j].count) / dt
			k++
		}
	}
	slices.Sort(slopes[:k])
	return slopes[k/2]
}
