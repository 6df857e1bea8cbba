package policy

import "time"

// HoldLeft is how long the undo condition of a change in force must go on to hold until it
// is taken back. It is not running while the condition does not hold, or there is none.
func (st *State) HoldLeft(s *Snapshot, c *Config, ch Change) (left time.Duration, running bool) {
	hold, clock := st.holdClock(s, c, ch)
	if ch.State != Applied || clock.change != ch.ID || clock.since >= st.learned {
		return 0, false
	}
	left = hold - (st.learned - clock.since)
	return max(left, 0), left > 0
}

// holdClock is the clock of a change's undo condition, and for how long that must hold.
func (st *State) holdClock(s *Snapshot, c *Config, ch Change) (hold time.Duration, clock calm) {
	clocks := st.calm[ch.Measure.slot()][:]
	switch ch.Measure {
	case RaiseMax:
		hold = c.RaiseMax.Hold
	case GrowBuckets:
		hold = c.GrowBuckets.Hold
	case ShortenTimeouts:
		hold = c.ShortenTimeouts.Hold
	case LimitSource:
		hold, clocks = holdOf(s, c, ch), st.leases[:]
	case Bypass:
		clocks = st.leases[:]
		if f := c.flow(ch.Terms.Flow); f != nil {
			hold = f.Hold
		}
	}
	for _, k := range clocks {
		if k.change == ch.ID {
			clock = k
		}
	}
	return hold, clock
}
