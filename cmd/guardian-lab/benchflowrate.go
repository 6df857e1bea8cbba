package main

import (
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A flowRate is how many flows a second several runs came to.
type flowRate struct {
	Forwarded float64 `json:"forwarded"` // the median
	Lowest    float64 `json:"lowest"`
	Highest   float64 `json:"highest"`
}

// flowRateOf is of one run at least.
func flowRateOf(runs []float64) flowRate {
	return flowRate{median(runs), slices.Min(runs), slices.Max(runs)}
}

// figures is one figure of all runs.
func figures[R any](runs []R, of func(R) float64) (all []float64) {
	for _, run := range runs {
		all = append(all, of(run))
	}
	return all
}

// noise is how far apart the runs are, in percent of their median.
func (r flowRate) noise() float64 { return 100 * (r.Highest - r.Lowest) / r.Forwarded }

// slower is how much less it is than undisturbed, in percent.
func (r flowRate) slower(undisturbed flowRate) float64 {
	return 100 * (1 - r.Forwarded/undisturbed.Forwarded)
}

// grain is what the generator's pace leaves uncertain of a turn's length: it sends
// what is due, sleeps for a millisecond and may sleep as long again.
const grain = 0.002

// allowed is how much less than this, which is undisturbed, another may be, in
// percent: as much as its own runs differ by, and no less than the generator can tell
// in so many seconds.
func (r flowRate) allowed(seconds float64) float64 {
	return max(r.noise(), 100*grain/seconds)
}

// extremes are for people.
func (r flowRate) extremes() string {
	return policy.Number(int(r.Lowest)) + "–" + policy.Number(int(r.Highest))
}
