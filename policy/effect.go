package policy

import (
	"fmt"
	"time"
)

// judge says of each change in force, once and when its check is due, whether it
// helped.
func (st *State) judge(s *Snapshot, c *Config, now time.Duration) []Decision {
	var out []Decision
	for _, ch := range s.Changes {
		check := min(checkOf(c, ch.Measure), c.Watch.Window)
		if ch.State != Applied || ch.Outcome != "" {
			continue
		}
		// A change made by an earlier run is judged by what this run has seen.
		made := max(ch.At, st.begun)
		if now-made < check {
			continue
		}
		// The slot in which the change was made still holds losses from before it.
		lost, _ := st.history.lossesSince(made + c.Watch.Window/slots)
		d := st.decision(Judge, "")
		d.Measure, d.Change, d.Episode = ch.Measure, ch.ID, ch.Episode
		d.From, d.To = ch.Before, ch.After
		d.Outcome, d.Reason = outcome(ch.Measure, lost, c)
		out = append(out, d)
	}
	return out
}

func checkOf(c *Config, m Measure) time.Duration {
	if m == GrowBuckets {
		return c.GrowBuckets.Check
	}
	return c.RaiseMax.Check
}

// outcome compares what was lost since the change with what the change can end.
func outcome(m Measure, lost losses, c *Config) (Outcome, string) {
	own, other := lost.full, lost.chains+lost.memory+lost.snat+lost.unknown
	again := "the table filled again"
	if m == GrowBuckets {
		own, other = lost.chains, lost.full+lost.memory+lost.snat+lost.unknown
		again = "chains are still too long"
	}
	switch {
	case own > 0 && m == GrowBuckets:
		return DidNotHelp, fmt.Sprintf("%s: %s lost since", again, Number(int(own)))
	case own > 0:
		return NotEnough, fmt.Sprintf("%s: %s lost since", again, Number(int(own)))
	case other >= uint64(c.Watch.LossFloor):
		return DidNotHelp, fmt.Sprintf("%s lost since for another reason", Number(int(other)))
	}
	return Helped, "nothing lost since"
}
