package policy

import (
	"fmt"
	"time"
)

// An Alert is a threshold for monitoring.
type Alert struct {
	Name        string  `json:"name"`        // warning, critical
	Utilization float64 `json:"utilization"` // count ÷ max, 0–1
	Entries     int     `json:"entries"`
	Reason      string  `json:"reason"`
}

// Bounds of the thresholds. Above the last nobody has time to do anything.
const (
	leastWarning  = 0.50
	leastApart    = 0.05
	mostWarning   = 0.90
	mostCritical  = 0.95
	reactionAlert = time.Minute // that is left at a critical alert, at the fastest rate
)

// alerts are two thresholds of utilization: half-way between the learned peak and the
// limit, and where at the fastest learned rate a minute is left.
func (z *sizing) alerts(limit int) []Alert {
	if limit <= 0 {
		return []Alert{}
	}
	of := float64(limit)
	warn := hundredths(min(max((float64(z.Peak)+of)/2/of, leastWarning), mostWarning))
	crit := hundredths(min(max((of-z.Rate*reactionAlert.Seconds())/of, warn+leastApart), mostCritical))
	return []Alert{
		{"warning", warn, int(warn * of), z.warningReason(warn, of)},
		{"critical", crit, int(crit * of), z.criticalReason(of * (1 - crit))},
	}
}

// warningReason says how a warning lies to what was seen.
func (z *sizing) warningReason(warn, of float64) string {
	why := "Half-way between the peak and the limit"
	switch {
	case warn == leastWarning:
		why = "Far above the peak, which is no reason to warn earlier"
	case warn == mostWarning:
		why = "The peak leaves little room below the limit"
	}
	if z.Highest > int(warn*of) {
		why += fmt.Sprintf("; the highest reading, %s, was above it", Number(z.Highest))
	}
	return why + "."
}

// hundredths cuts a share to whole percent.
func hundredths(f float64) float64 { return float64(int(f*100+1e-9)) / 100 }

// criticalReason says how long the room that is left lasts.
func (z *sizing) criticalReason(room float64) string {
	if z.Rate < 1 {
		return "The table has not been seen filling: this is where little room is left."
	}
	left := time.Duration(room / z.Rate * float64(time.Second))
	return fmt.Sprintf("At %s entries a second, the fastest fill rate in 99 of 100 hours, it is full %s later.",
		Number(int(z.Rate)), Span(left))
}
