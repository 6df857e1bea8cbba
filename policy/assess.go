package policy

import (
	"math"
	"time"
)

// Never is the time to full of a table that is not filling.
const Never = time.Duration(math.MaxInt64)

// An Assessment is what the newest readings say, before anything is decided.
type Assessment struct {
	Count, Max  int
	Utilization float64       // Count ÷ Max, 0 when the kernel keeps no limit
	FillRate    float64       // entries per second, negative when draining
	TimeToFull  time.Duration // at the fill rate; Never when it does not fill
	Chain       float64       // mean hash chain length
	Lost        uint64        // losses within the window, any cause
	Pressed     bool          // the table is nearly full, or will be within the horizon
	Cause       Cause         // of the trouble seen now, None when there is none

	lost     losses        // within the window
	counters Counters      // within the window
	window   time.Duration // that window
}

func assess(h *history, s *Snapshot, c *Config, now time.Duration) Assessment {
	a := Assessment{Count: s.Count, Max: s.Max, Utilization: s.Utilization(), TimeToFull: Never}
	a.FillRate = h.fillRate(c.Watch.Window, now)
	if room := s.Max - s.Count; s.Max > 0 && a.FillRate > 0 {
		a.TimeToFull = seconds(float64(max(room, 0)) / a.FillRate)
	}
	a.Chain = chain(s.Count, s.Buckets)
	a.window = c.Watch.Window
	a.lost, a.counters = h.lossesSince(now - a.window)
	a.Lost = a.lost.full + a.lost.snat + a.lost.chains + a.lost.memory + a.lost.unknown
	a.Pressed = s.Max > 0 && (a.Utilization >= c.Watch.High ||
		a.Utilization >= c.Watch.Low && a.TimeToFull < c.Watch.Horizon)
	a.Cause = diagnose(&a, c)
	return a
}

// seconds converts without overflow: a slow leak is full in longer than a
// Duration can say, which is as good as never.
func seconds(f float64) time.Duration {
	if f >= float64(Never)/float64(time.Second) {
		return Never
	}
	return time.Duration(f * float64(time.Second))
}

// The pause between two readings stays within these.
const (
	minPause = 100 * time.Millisecond
	maxPause = time.Second
)

// Pause is how long to wait before the next reading: half the time in which the
// fastest plausible growth would use up the room that is left, so that no table
// goes from calm to full between two readings.
func Pause(s *Snapshot, c *Config) time.Duration {
	if s.Max <= 0 {
		return maxPause
	}
	room := float64(max(s.Max-s.Count, 0))
	return min(max(seconds(room/c.Watch.WorstFillRate/2), minPause), maxPause)
}
