package lab

import (
	"cmp"
	"slices"
	"time"
)

// An attempt is one connection or exchange.
type attempt struct {
	began  time.Duration // since the clients were let loose
	took   time.Duration
	failed bool
}

// A tally is the attempts of one kind, in the order in which they ended.
type tally []attempt

func (t *tally) add(a attempt) { *t = append(*t, a) }

// A ClientReport is what the well-behaved clients met with.
type ClientReport struct {
	TCP Tally `json:"tcp"`
	UDP Tally `json:"udp"`
}

// A Tally counts attempts of one kind. Times are since the clients were let
// loose.
type Tally struct {
	Attempted int `json:"attempted"`
	Failed    int `json:"failed"` // no echo by the deadline
	Slow      int `json:"slow"`   // echoed, but later than SlowAfter
	// LongestOutage is the longest time in which every attempt failed: from the
	// beginning of the first to fail to the beginning of the next to succeed, or
	// to the end of the last if none did.
	LongestOutage time.Duration `json:"longest_outage_ns"`
	FirstFailure  time.Duration `json:"first_failure_ns"` // when the first to fail began
	LastFailure   time.Duration `json:"last_failure_ns"`  // when the last to fail began
	Median        time.Duration `json:"median_ns"`        // of the time of those that succeeded
	Slowest       time.Duration `json:"slowest_ns"`       // of those that succeeded
}

// count sorts the tally by beginning and counts it.
func (t tally) count() (r Tally) {
	slices.SortFunc(t, func(a, b attempt) int { return cmp.Compare(a.began, b.began) })
	r.Attempted = len(t)
	var took []time.Duration
	for _, a := range t {
		switch {
		case a.failed:
			if r.Failed == 0 {
				r.FirstFailure = a.began
			}
			r.Failed++
			r.LastFailure = a.began
		case a.took > SlowAfter:
			r.Slow++
			fallthrough
		default:
			took = append(took, a.took)
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.Median, r.Slowest = took[len(took)/2], took[len(took)-1]
	}
	r.LongestOutage = t.longestOutage()
	return r
}

// longestOutage needs the tally sorted.
func (t tally) longestOutage() (longest time.Duration) {
	for i := 0; i < len(t); i++ {
		if !t[i].failed {
			continue
		}
		from := t[i].began
		for i+1 < len(t) && t[i+1].failed {
			i++
		}
		to := t[i].began + t[i].took
		if i+1 < len(t) {
			to = t[i+1].began
		}
		longest = max(longest, to-from)
	}
	return longest
}
