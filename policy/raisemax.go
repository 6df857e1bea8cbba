package policy

import (
	"fmt"
	"math"
	"time"
)

// maxLimit is the largest nf_conntrack_max the kernel takes: the sysctl is a
// signed 32-bit number.
const maxLimit = math.MaxInt32

// raiseMax gives a filling or full table more room, and takes the room back when
// the table has long been well under what it held before.
//
// It answers no other cause: without a source port, with overlong chains or
// without memory a bigger table is useless or harmful.
func (st *State) raiseMax(s *Snapshot, c *Config, now time.Duration) []Decision {
	m := &c.RaiseMax
	if d := st.lowerMax(s, c, now); d != nil {
		return d
	}
	mode := min(c.Mode, m.Mode)
	if mode == Off || !st.wantsRoom() || drifting(s, RaiseMax, s.Max) || st.resting(s, RaiseMax, m.Cooldown, c.Watch.YieldFor, now) {
		return nil
	}
	want := wantMax(s, c, st.Now.FillRate)
	if want <= s.Max {
		return nil
	}
	// Less than 1/64 more is not worth a write.
	least := s.Max + s.Max/64 + 1
	to, bound := boundMax(s, c, max(want, least))
	if st.useless(s, RaiseMax) {
		to, bound = s.Max, "raising it did not help in this episode"
	}
	last := to == m.Ceiling && to > s.Max // of what is approved
	if to < least && !last {
		return st.bounded(RaiseMax, s.Max, fmt.Sprintf("nf_conntrack_max stays at %s: %s", Number(s.Max), bound))
	}
	return st.propose(s, RaiseMax, mode, s.Max, to, st.Now.figures(), now)
}

// wantsRoom reports whether more room is the remedy for what is seen now.
func (st *State) wantsRoom() bool {
	a := &st.Now
	return a.Pressed && (a.Cause == TableFull || a.Cause == TableFilling)
}

// wantMax is the max that lasts for Reach at the fill rate and brings utilization
// under the low mark, in whole units of 1,024.
func wantMax(s *Snapshot, c *Config, fillRate float64) int {
	lasting := float64(s.Count) + max(fillRate, 0)*c.RaiseMax.Reach.Seconds()
	roomy := float64(s.Count) / c.Watch.Low
	return int(min(math.Ceil(max(lasting, roomy)/1024)*1024, maxLimit))
}

// boundMax cuts the wanted max to the bounds and names the tightest.
func boundMax(s *Snapshot, c *Config, want int) (to int, bound string) {
	to = want
	cut := func(limit int, why string) {
		if limit < to {
			to, bound = limit, why
		}
	}
	cut(maxLimit, "the kernel takes no larger limit")
	cut(int(min(c.RaiseMax.Step*float64(s.Max), maxLimit)), fmt.Sprintf("one step allows %g times", c.RaiseMax.Step))
	cut(c.RaiseMax.Ceiling, "the approved ceiling is "+Number(c.RaiseMax.Ceiling))
	cut(affordable(s, c), fmt.Sprintf("the memory budget is %s with %s MiB available",
		Percent(c.Memory.Budget), Number(int(s.MemAvailable>>20))))
	return to, bound
}

// affordable is the max at which the tables, full, take the budget's share of
// the memory they could have: what is available and what this one holds already.
// So the bound stays where it is while the table fills.
func affordable(s *Snapshot, c *Config) int {
	entry := float64(c.Memory.EntryBytes)
	could := float64(s.MemAvailable) + entry*float64(s.Count)
	return int(min(c.Memory.Budget*could/entry/float64(c.Memory.Tables), maxLimit))
}

// lowerMax undoes raises once the count has been under the low mark of the former
// max for the hold. Trouble of another kind has no use for the room.
func (st *State) lowerMax(s *Snapshot, c *Config, now time.Duration) []Decision {
	open := stack(s, RaiseMax)
	if len(open) == 0 || drifting(s, RaiseMax, s.Max) {
		return nil
	}
	if ch, ok := aboveCeiling(open, s, c); ok {
		return st.undo(ch, s.Max, fmt.Sprintf("the policy approves %s at most now", Number(c.RaiseMax.Ceiling)))
	}
	well := func(ch Change) bool { return s.Count <= roomFor(ch.Before, c) }
	ch, ok := st.deepest(open, c.RaiseMax.Hold, now, well)
	if !ok {
		return nil
	}
	return st.undo(ch, s.Max, fmt.Sprintf("%s entries, at most %s for %s", Number(s.Count), Number(roomFor(ch.Before, c)), Span(c.RaiseMax.Hold)))
}

// aboveCeiling is the lowest raise beyond a ceiling that was lowered since, of those that
// the table does not need.
func aboveCeiling(open []Change, s *Snapshot, c *Config) (lowest Change, found bool) {
	for _, ch := range open {
		if ch.After > c.RaiseMax.Ceiling && s.Count <= roomFor(ch.Before, c) {
			return ch, true
		}
	}
	return Change{}, false
}

// margin is the room kept above the count when max is lowered, as a share of the
// count. The executor keeps the same.
const margin = 0.25

// roomFor is the largest count at which max may go back to limit: under the low
// mark, and with the margin to spare.
func roomFor(limit int, c *Config) int {
	return int(min(c.Watch.Low*float64(limit), float64(limit)/(1+margin)))
}
