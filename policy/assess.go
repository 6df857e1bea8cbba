package policy

import (
	"math"
	"time"
)

// Never is the time to full of a table that is not filling.
const Never = time.Duration(math.MaxInt64)

// sprint is the time to full at which two readings that agree are believed: to
// wait for the slow estimate would lose connections. Above it they are jitter.
const sprint = time.Second

// An Assessment is what the newest readings say, before anything is decided.
type Assessment struct {
	Count, Max  int
	Utilization float64       // Count ÷ Max, 0 when the kernel keeps no limit
	FillRate    float64       // entries per second, negative when draining
	TimeToFull  time.Duration // at the fill rate; Never when it does not fill
	Chain       float64       // mean hash chain length
	Pressed     bool          // the table is nearly full, or will be within the horizon
	Cause       Cause         // of the trouble seen now, None when there is none
	Pattern     Pattern       // of a table that fills or is full, NoPattern where none is clear
	// Confidence in the pattern, or in the cause where no pattern is named: the share
	// of what was seen that speaks for it, 0–1.
	Confidence float64
	Census     Census // the newest that is not too old, if any

	why      explanation
	age      time.Duration // of the census
	slowRate float64       // the fill rate by the slow estimate alone
	lost     losses        // within the window
	counters Counters      // within the window
	window   time.Duration // that window
}

func assess(h *history, s *Snapshot, c *Config, now time.Duration) Assessment {
	a := Assessment{Count: s.Count, Max: s.Max, Utilization: s.Utilization(), window: c.Watch.Window}
	var fast float64
	a.slowRate, fast = h.growth(a.window, now)
	a.FillRate, a.TimeToFull = a.slowRate, timeToFull(s, a.slowRate)
	if soon := timeToFull(s, fast); soon < sprint && soon < a.TimeToFull {
		a.FillRate, a.TimeToFull = fast, soon
	}
	a.Chain = chain(s.Count, s.Buckets)
	a.lost, a.counters = h.lost(now - a.window)
	// The first reading has no losses yet: its cause could only be guessed.
	a.Pressed = s.Max > 0 && h.readings > 1 && (a.Utilization >= c.Watch.High ||
		a.Utilization >= c.Watch.Low && a.TimeToFull < c.Watch.Horizon)
	a.Cause = diagnose(&a, c)
	if s.Census.At != 0 && now-s.Census.At <= c.Census.stale() {
		a.Census, a.age = s.Census, now-s.Census.At
	}
	return a
}

// explain says how the table came to be in trouble. Once what was done has ended
// the trouble, the first census of the episode still tells. That the table is too
// small is what is left when nothing else explains it, what was named included.
func (st *State) explain(s *Snapshot, c *Config, now time.Duration) {
	e, a, cause := &st.Episode, &st.Now, st.Now.Cause
	if cause == None && st.awaitsCensus() {
		cause = e.Cause
	}
	if cause == None {
		return
	}
	a.Confidence = a.surety(cause, c)
	why := explain(a, cause, e.Pattern, &st.Baseline, s, c)
	switch weak := why.pattern == NoPattern || why.pattern == Chronic; {
	case weak && cause.ofTable() && e.persists(a, now):
		if a.Pattern = e.Pattern; a.Pattern != NoPattern {
			a.Confidence = e.Confidence
		}
	case why.pattern != NoPattern:
		a.why, a.Pattern, a.Confidence = why, why.pattern, why.confidence
	}
}

func timeToFull(s *Snapshot, rate float64) time.Duration {
	if s.Max <= 0 || rate <= 0 {
		return Never
	}
	return seconds(float64(max(s.Max-s.Count, 0)) / rate)
}

// seconds converts without overflow: a slow leak is full in longer than a
// Duration can say, which is as good as never.
func seconds(f float64) time.Duration {
	if f >= float64(Never)/float64(time.Second) {
		return Never
	}
	return time.Duration(f * float64(time.Second))
}

// The pause between two readings stays within these. Readings that follow each other
// faster tell more of chance than of the traffic.
const (
	MinPause = 100 * time.Millisecond
	maxPause = time.Second
)

// Pause is how long to wait before the next reading: half the time in which the
// fastest plausible growth would use up the room that is left. So a table is read
// at least once before it is full, unless it has less room than that growth fills
// in the shortest pause.
func Pause(s *Snapshot, c *Config) time.Duration {
	if s.Max <= 0 {
		return maxPause
	}
	room := float64(max(s.Max-s.Count, 0))
	return min(max(seconds(room/c.Watch.WorstFillRate/2), MinPause), maxPause)
}
