package guard

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// An hour is the highest utilization of each of the last minutes, a ring. Its zero value
// has seen nothing.
type hour struct {
	highest [control.Minutes]float64
	seen    [control.Minutes]bool
	minute  int64 // the newest, since boot
}

// add takes in a reading.
func (h *hour) add(now time.Duration, utilization float64) {
	minute := int64(now / time.Minute)
	h.advance(minute)
	i := minute % control.Minutes
	h.highest[i], h.seen[i] = max(h.highest[i], utilization), true
}

// advance forgets minutes that are too long ago, and those without a reading.
func (h *hour) advance(minute int64) {
	for m := max(h.minute+1, minute-control.Minutes+1); m <= minute; m++ {
		h.highest[m%control.Minutes], h.seen[m%control.Minutes] = 0, false
	}
	h.minute = max(h.minute, minute)
}

// minutes are they, oldest first, nil where nothing was read.
func (h *hour) minutes(now time.Duration) (list [control.Minutes]*float64) {
	h.advance(int64(now / time.Minute))
	for i := range list {
		if k := (h.minute + 1 + int64(i)) % control.Minutes; h.seen[k] {
			u := h.highest[k]
			list[i] = &u
		}
	}
	return list
}
