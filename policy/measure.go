package policy

import "time"

// stack returns the open changes of a measure, oldest first. Each rests on the
// one before it: its Before is the other's After.
func stack(s *Snapshot, m Measure) []Change {
	var open []Change
	for _, c := range s.Changes {
		if c.Measure == m && c.State == Applied {
			open = append(open, c)
		}
	}
	return open
}

// A measure that the kernel refused rests for a minute, and twice as long after
// each further refusal: what was refused (a missing capability, a read-only
// mount) is not mended by haste.
const (
	firstBackoff = time.Minute
	lastBackoff  = time.Hour
)

// resting reports whether a measure must wait: it was yielded to somebody else or, unless
// an operator approves it now, acted a moment ago, was refused or rolled back by hand.
func (st *State) resting(s *Snapshot, m Measure, cooldown, yieldFor, now time.Duration) bool {
	backoff := firstBackoff
	rests, insists := false, st.insists(s, m)
	for _, c := range s.Changes {
		if c.Measure != m {
			continue
		}
		since := now - c.At
		rests = rests || c.State == Yielded && since < yieldFor || !insists && (since < cooldown || c.RolledBack && since < yieldFor)
		if c.State != Failed {
			backoff = firstBackoff
			continue
		}
		rests = rests || since < backoff && !insists
		backoff = min(2*backoff, lastBackoff)
	}
	return rests
}

// useless reports whether the measure has failed to help in this phase of the
// episode.
func (st *State) useless(s *Snapshot, m Measure) bool {
	for _, c := range s.Changes {
		if c.Measure == m && c.Outcome == DidNotHelp && st.thisPhase(c) {
			return true
		}
	}
	return false
}

// propose wishes that a measure changes a number or a level.
func (st *State) propose(s *Snapshot, m Measure, mode Mode, from, to int, reason string, now time.Duration) []Decision {
	d := st.seen(Do, reason)
	d.Measure, d.From, d.To = m, from, to
	return st.wish(s, mode, d, now)
}

// seen starts a Decision that rests on what is seen now: what the episode is named for may
// be older.
func (st *State) seen(v Verb, reason string) Decision {
	d := st.decision(v, reason)
	if a := &st.Now; a.Cause != d.Cause {
		d.Cause, d.Pattern, d.Confidence = a.Cause, a.Pattern, a.Confidence
	}
	return d
}

// bounded reports, once a phase of the episode, that a measure has come to the end of its bounds.
func (st *State) bounded(m Measure, at int, reason string) []Decision {
	if once(&st.Episode.said.bounded[m.slot()]) {
		return nil
	}
	d := st.decision(Bounded, reason)
	d.Measure, d.From, d.To = m, at, at
	return []Decision{d}
}

// once sets *said and returns what it was.
func once(said *bool) (before bool) {
	before, *said = *said, true
	return before
}

// levels is how many changes of a stack, the newest, have an undo clock.
const levels = 16

// calm is since when a change's undo condition has held.
type calm struct {
	change int
	since  time.Duration
}

// deepest returns the lowest change of a stack (not empty) whose undo condition
// has held for hold; undoing it undoes those above. The condition is asked of
// each level at every snapshot, so its clock starts again whenever it fails.
func (st *State) deepest(open []Change, hold, now time.Duration, well func(Change) bool) (lowest Change, found bool) {
	clocks := &st.calm[open[0].Measure.slot()]
	for i, c := range open[max(0, len(open)-levels):] {
		clock := &clocks[i]
		if clock.change != c.ID || !well(c) {
			*clock = calm{c.ID, now}
		}
		if !found && !st.paused && well(c) && now-clock.since >= hold {
			lowest, found = c, true
		}
	}
	return lowest, found
}

// undo decides to take back one change and those above it.
func (st *State) undo(c Change, from int, reason string) []Decision {
	d := st.decision(Undo, reason).about(c)
	d.From, d.To = from, c.Before
	return []Decision{d}
}
