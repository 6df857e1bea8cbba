package policy

import (
	"fmt"
	"slices"
	"time"
)

// lead is how far ahead the level is chosen: as long as dealing with the existing
// entries of a large table takes. What the table will hold by then is what counts.
const lead = 2 * time.Second

// shortenTimeouts has the entries of a table that can't grow end sooner, and gives
// them their time back when the table has long been well under the marks. limit is max
// as raise-max leaves it at this snapshot: room comes first, since it costs nobody
// anything.
func (st *State) shortenTimeouts(s *Snapshot, c *Config, now time.Duration, limit int) []Decision {
	m := &c.ShortenTimeouts
	if d := st.restoreTimeouts(s, c, now); d != nil {
		return d
	}
	level := st.wantedLevel(s, c, limit)
	if min(c.Mode, m.Mode) == Off || level == 0 || drifts(s) ||
		st.resting(s, ShortenTimeouts, m.Cooldown, 0, now) || rolledBack(s, c.Watch.YieldFor, now) && !st.insists(s, ShortenTimeouts) || st.restored(s, c, now) {
		return nil
	}
	from := levelNow(s)
	level = max(level, from) // a class that is worth it now joins the others
	mode, edits, worth := st.shorter(s, c, level, now)
	switch {
	case len(edits) == 0:
		return st.floored(s, c, from, worth)
	case st.useless(s, ShortenTimeouts):
		return st.bounded(ShortenTimeouts, from, "timeouts stay as they are: shortening them did not help in this episode")
	}
	d := st.seen(Do, st.Now.figures())
	d.Measure, d.From, d.To, d.Timeouts = ShortenTimeouts, from, level, edits
	return st.wish(s, mode, d, now)
}

// rolledBack reports whether an operator has lately taken shortened timeouts back.
func rolledBack(s *Snapshot, yieldFor, now time.Duration) bool {
	return slices.ContainsFunc(s.Changes, func(c Change) bool {
		return c.Measure == ShortenTimeouts && c.RolledBack && now-c.At < yieldFor
	})
}

// wantedLevel is the level that the trouble seen now calls for, 0 for none. Where no
// entry can be allocated what there is must go, however much room the limit leaves.
func (st *State) wantedLevel(s *Snapshot, c *Config, limit int) int {
	a := &st.Now
	switch {
	case a.Cause == MemoryShort:
		return TopLevel
	case !a.Cause.ofTable() || limit <= 0:
		return 0
	case limit == s.Max && a.lost.full > 0 && a.Utilization >= nearFull:
		return TopLevel
	}
	return c.ShortenTimeouts.level(st.coming(s, limit))
}

// coming is the utilization of a limit that is to be expected, 0 without a limit.
func (st *State) coming(s *Snapshot, limit int) float64 {
	if limit <= 0 {
		return 0
	}
	return (float64(s.Count) + max(st.Now.FillRate, 0)*lead.Seconds()) / float64(limit)
}

// shorter lists the timeouts to be shortened to a level, those of the farthest mode
// that has any, and tells whether a class is worth it at all. A class that is
// shortened already follows the level whatever it holds.
func (st *State) shorter(s *Snapshot, c *Config, level int, now time.Duration) (mode Mode, edits []TimeoutChange, worth bool) {
	m := &c.ShortenTimeouts
	for t := range Timeouts {
		normal, ours := normalOf(s, t)
		own := min(c.Mode, m.Mode, m.Floors[t].Mode)
		if own == Off || normal == 0 || !ours && st.Now.Census.Classes[t].Low < m.Share ||
			now < st.kept[t] || keptOff(s, t, c.Watch.YieldFor, now) {
			continue
		}
		worth = true
		to := m.Floors[t].scaled(normal, level)
		if to >= s.Timeouts[t] || own < mode {
			continue
		}
		if own > mode {
			mode, edits = own, nil
		}
		edits = append(edits, TimeoutChange{Name: t.String(), From: s.Timeouts[t], To: to})
	}
	return mode, edits, worth
}

// normalOf is a timeout without our changes, and whether there are any.
func normalOf(s *Snapshot, t Timeout) (seconds int, ours bool) {
	for _, c := range stack(s, ShortenTimeouts) {
		if before := c.Timeouts[t].Before; before != 0 {
			return before, true
		}
	}
	return s.Timeouts[t], false
}

// levelNow is the level in force.
func levelNow(s *Snapshot) int {
	if open := stack(s, ShortenTimeouts); len(open) > 0 {
		return open[len(open)-1].After
	}
	return 0
}

// floored says, when connections are being lost, that nothing is left to shorten. Who
// has not looked what is in the table says nothing, and neither does who waits for the
// effect of the last step.
func (st *State) floored(s *Snapshot, c *Config, level int, worth bool) []Decision {
	why := "every class that is worth it is at its floor"
	waits := func(ch Change) bool { return ch.Outcome == "" }
	switch {
	case !st.Now.Losing() || st.Now.Census.At == 0 || level != 0 && level != TopLevel ||
		slices.ContainsFunc(stack(s, ShortenTimeouts), waits):
		return nil
	case !worth:
		why = fmt.Sprintf("no class that may be shortened holds %s of the table", Percent(c.ShortenTimeouts.Share))
	}
	return st.bounded(ShortenTimeouts, level, "timeouts stay as they are: "+why)
}

// restored reports whether timeouts were given back so lately that a table that hovers
// at a mark would have them change to and fro. One that loses connections, or is about
// to, does not wait.
func (st *State) restored(s *Snapshot, c *Config, now time.Duration) bool {
	if st.Now.Losing() || st.Now.Utilization >= c.ShortenTimeouts.End {
		return false
	}
	for _, ch := range s.Changes {
		if ch.Measure == ShortenTimeouts && ch.State == Undone && now-ch.At < c.ShortenTimeouts.Hold {
			return true
		}
	}
	return false
}

// restoreTimeouts undoes levels once the table would have been well under their marks
// for the hold, even with all entries living as long as before.
func (st *State) restoreTimeouts(s *Snapshot, c *Config, now time.Duration) []Decision {
	open := stack(s, ShortenTimeouts)
	if len(open) == 0 || drifts(s) {
		return nil
	}
	if ch, why := disallowed(open, s, c); why != "" {
		d := st.undo(ch, levelNow(s), why)
		d[0].To, d[0].Timeouts = ch.Before, before(s, open, ch)
		return d
	}
	well := func(ch Change) bool {
		return st.Now.Cause != MemoryShort && c.ShortenTimeouts.leaves(st.coming(s, s.Max), ch.Before)
	}
	hold := c.ShortenTimeouts.Hold
	ch, ok := st.deepest(open, hold, now, well)
	if !ok || now-open[len(open)-1].Made < hold {
		return nil
	}
	then, known := st.utilizationWith(s, open, ch)
	if st.unsure = !known; !known {
		// Who can't look waits as long again, and no longer.
		if ch, ok = st.deepest(open, 2*hold, now, well); !ok {
			return nil
		}
		hold *= 2
	} else if !c.ShortenTimeouts.leaves(then, ch.Before) {
		return nil
	}
	d := st.undo(ch, levelNow(s), fmt.Sprintf("%s entries (%s) for %s", Number(s.Count), Percent(st.Now.Utilization), Span(hold)))
	d[0].To, d[0].Timeouts = ch.Before, before(s, open, ch)
	if known {
		d[0].Reason += fmt.Sprintf(", about %s with the timeouts from before", Percent(then))
	}
	return d
}

// disallowed is the lowest change that the policy does not allow any more, and why. What
// it still allows is decided anew.
func disallowed(open []Change, s *Snapshot, c *Config) (lowest Change, why string) {
	m := &c.ShortenTimeouts
	for _, ch := range open {
		if mode := min(c.Mode, m.Mode); !stays(ch, mode) {
			return ch, "the policy is in mode " + mode.String() + " now"
		}
		for t := range Timeouts {
			normal, _ := normalOf(s, t)
			switch f, ours := m.Floors[t], ch.Timeouts[t].After; {
			case ours == 0:
			case !stays(ch, f.Mode):
				return ch, fmt.Sprintf("the policy has %s in mode %s now", t, f.Mode)
			case ours < f.scaled(normal, TopLevel):
				return ch, fmt.Sprintf("the policy has %s no shorter than %s now", t, TimeoutText(f.scaled(normal, TopLevel)))
			}
		}
	}
	return Change{}, ""
}

// utilizationWith is what utilization comes to when a change and those above it are
// taken back, at the rate of new entries seen now: a class holds as many as come in the
// time that they stay. known is false without a census of the present.
func (st *State) utilizationWith(s *Snapshot, open []Change, lowest Change) (then float64, known bool) {
	then = st.Now.Utilization
	for _, e := range before(s, open, lowest) {
		t, _ := TimeoutNamed(e.Name)
		then += st.Now.Utilization * st.Now.Census.Classes[t].Share * (float64(e.To)/float64(e.From) - 1)
	}
	return then, st.Now.Census.At != 0
}

// before lists what the timeouts become when a change and those above it are taken
// back.
func before(s *Snapshot, open []Change, lowest Change) (edits []TimeoutChange) {
	for t := range Timeouts {
		for _, c := range open {
			if to := c.Timeouts[t].Before; c.ID >= lowest.ID && to != 0 {
				edits = append(edits, TimeoutChange{Name: t.String(), From: s.Timeouts[t], To: to})
				break
			}
		}
	}
	return edits
}

// driftedTimeouts finds the newest change of ours with timeouts that are no longer what
// it has made them, and those as they were found.
func driftedTimeouts(s *Snapshot) (in Change, found []TimeoutChange) {
	var seen [Timeouts]bool
	for _, c := range slices.Backward(stack(s, ShortenTimeouts)) {
		for t := range Timeouts {
			ours := c.Timeouts[t].After
			if ours == 0 || seen[t] {
				continue
			}
			seen[t] = true
			if now := s.Timeouts[t]; now != 0 && now != ours {
				found = append(found, TimeoutChange{Name: t.String(), From: ours, To: now})
			}
		}
		if len(found) > 0 {
			return c, found
		}
	}
	return Change{}, nil
}

// drifts reports whether a timeout of ours was changed by somebody else.
func drifts(s *Snapshot) bool {
	_, found := driftedTimeouts(s)
	return len(found) > 0
}

// heed notices that somebody raises a timeout that is not ours to know. Entries that
// began with the shorter one would then look as old as the longer one makes them, until
// they are gone: so long that timeout is left alone.
func (st *State) heed(s *Snapshot, now time.Duration) {
	for t := range Timeouts {
		was, is := st.timeouts[t], s.Timeouts[t]
		if was != 0 && is > was && !explains(s, t, is) {
			st.kept[t] = now + time.Duration(was)*time.Second + 2*time.Second
		}
	}
	st.timeouts = s.Timeouts
}

// explains reports whether a change of ours has set a timeout to a value, or put it back
// to it: the ledger knows since when it is in force.
func explains(s *Snapshot, t Timeout, value int) bool {
	return slices.ContainsFunc(s.Changes, func(c Change) bool {
		e := c.Timeouts[t]
		return c.State == Applied && e.After == value || c.State != Applied && e.Before == value
	})
}

// keptOff reports whether somebody else has taken a timeout from us lately.
func keptOff(s *Snapshot, t Timeout, yieldFor, now time.Duration) bool {
	return slices.ContainsFunc(s.Changes, func(c Change) bool {
		return c.Measure == ShortenTimeouts && c.Lost[t] && now-c.At < yieldFor
	})
}

// reapEvery is the least time between two walks for the same change.
const reapEvery = 3 * time.Second

// WantsWalk reports whether the existing entries are to be dealt with for the newest
// change, and at how many entries in the table there is no more need of it. Its id is
// 0 if not. A walk that ended there goes on when there is need again. last is when the
// newest ended, 0 for never.
//
// A table that fills up although all entries were dealt with is walked again: the
// kernel counts entries whose time is over until its own collector comes by (up to a
// minute), or a walk.
func (st *State) WantsWalk(s *Snapshot, c *Config, last, now time.Duration) (change, enough int) {
	m := &c.ShortenTimeouts
	open := stack(s, ShortenTimeouts)
	if len(open) == 0 || drifts(s) {
		return 0, 0
	}
	newest := &open[len(open)-1]
	if !stays(*newest, min(c.Mode, m.Mode)) || s.Paused != "" {
		return 0, 0
	}
	level := m.level(st.coming(s, s.Max))
	enough = int(c.Watch.Low * float64(s.Max))
	switch done := newest.Walk.Done; {
	case newest.Walk != (Walk{}) && last != 0 && now-last < reapEvery:
	case done && level < TopLevel:
	case !done && st.Now.Cause == MemoryShort:
		return newest.ID, 0
	case s.Count > enough && level > 0:
		return newest.ID, enough
	}
	return 0, 0
}
