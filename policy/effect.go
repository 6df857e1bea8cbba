package policy

import (
	"fmt"
	"time"
)

// A check waits for a change's effect: what had been lost in all when the change
// was first seen in force. That is one reading after it was made, so what was
// lost until then is not held against it.
type check struct {
	change int
	begun  time.Duration
	lost   losses
}

// judge says of each change in force, once and when its check is due, whether it
// helped. A change made by an earlier run is judged by what this run sees.
func (st *State) judge(s *Snapshot, c *Config, now time.Duration) []Decision {
	var out []Decision
	for _, ch := range s.Changes {
		if ch.State != Applied || ch.Outcome != "" {
			continue
		}
		k := st.check(ch.ID, now)
		if now-k.begun < checkOf(c, ch.Measure) {
			continue
		}
		d := st.decision(Judge, "")
		d.Measure, d.Change, d.Episode = ch.Measure, ch.ID, ch.Episode
		d.From, d.To = ch.Before, ch.After
		span := (now - k.begun).Seconds() / c.Watch.Window.Seconds()
		d.Outcome, d.Reason = outcome(ch.Measure, st.history.total.minus(k.lost), float64(c.Watch.LossFloor)*span)
		out = append(out, d)
	}
	return out
}

// check returns the check of a change, begun now if it is new. Should more changes
// wait than there is place for, the oldest check gives way and begins again.
func (st *State) check(id int, now time.Duration) check {
	oldest := 0
	for i, k := range st.checks {
		if k.change == id {
			return k
		}
		if k.begun < st.checks[oldest].begun {
			oldest = i
		}
	}
	st.checks[oldest] = check{id, now, st.history.total}
	return st.checks[oldest]
}

func checkOf(c *Config, m Measure) time.Duration {
	if m == GrowBuckets {
		return c.GrowBuckets.Check
	}
	return c.RaiseMax.Check
}

// outcome compares what was lost since the change with what the change can end.
// Fewer than floor other losses are noise. Losses that have nothing to do with
// the table's size say nothing about a change to it.
func outcome(m Measure, lost losses, floor float64) (Outcome, string) {
	switch {
	case m == RaiseMax && lost.full > 0:
		return NotEnough, fmt.Sprintf("the table filled again: %s lost since", Number(int(lost.full)))
	case m == RaiseMax && lost.memory > 0 && float64(lost.memory) >= floor:
		return DidNotHelp, fmt.Sprintf("%s lost since with room in the table", Number(int(lost.memory)))
	case m == GrowBuckets && lost.chains > 0:
		return DidNotHelp, fmt.Sprintf("chains are still too long: %s lost since", Number(int(lost.chains)))
	}
	if lost != (losses{}) {
		return Helped, "what was lost since has other reasons"
	}
	return Helped, "nothing lost since"
}
