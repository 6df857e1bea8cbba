package policy

import (
	"fmt"
	"time"
)

// failedBackoff is how long a measure rests after the kernel refused it: what
// was refused (a missing capability, a read-only mount) is not mended by haste.
const failedBackoff = time.Minute

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

// resting reports whether a measure must wait, and why: it acted a moment ago,
// was refused, was yielded to somebody else, or did not help in this episode.
func (st *State) resting(s *Snapshot, m Measure, cooldown, yieldFor, now time.Duration) bool {
	for _, c := range s.Changes {
		if c.Measure != m {
			continue
		}
		since := now - c.At
		switch {
		case since < cooldown,
			c.State == Failed && since < failedBackoff,
			c.State == Yielded && since < yieldFor,
			c.Outcome == DidNotHelp && c.Episode == st.Episode.Name:
			return true
		}
	}
	return false
}

// propose turns a measure's wish into a decision: done, advised or observed by
// mode, and advised where nothing can be done. What is not done is said once an
// episode.
func (st *State) propose(s *Snapshot, m Measure, mode Mode, from, to int, reason string) []Decision {
	verb := Do
	switch {
	case mode == Off:
		return nil
	case mode == Observe:
		verb = Observed
	case mode == Advise:
		verb = Advised
	case s.Unable != "":
		verb, reason = Advised, fmt.Sprintf("%s; not done: %s", reason, s.Unable)
	}
	if verb != Do && once(&st.Episode.said.advised[m.slot()]) {
		return nil
	}
	d := st.decision(verb, reason)
	d.Cause = st.Now.Cause
	d.Measure, d.From, d.To = m, from, to
	return []Decision{d}
}

// bounded reports, once an episode, that a measure has come to the end of its bounds.
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

// levels is how many stacked changes have an undo clock of their own; deeper
// ones wait until those above are undone.
const levels = 16

// calm is since when a change's undo condition has held.
type calm struct {
	change int
	since  time.Duration
}

// deepest returns the lowest change of a stack (not empty) whose undo condition has held
// for hold; undoing it undoes those above. The condition is asked of each level
// at every snapshot, so its clock starts again whenever it fails.
func (st *State) deepest(open []Change, hold, now time.Duration, well func(Change) bool) (lowest Change, found bool) {
	clocks := &st.calm[open[0].Measure.slot()]
	top := open[len(open)-1]
	for i, c := range open[:min(len(open), levels)] {
		clock := &clocks[i]
		if clock.change != c.ID || !well(c) {
			*clock = calm{c.ID, now}
		}
		if !found && well(c) && now-clock.since >= hold && now-top.At >= hold {
			lowest, found = c, true
		}
	}
	return lowest, found
}

// undo decides to take back one change and those above it.
func (st *State) undo(c Change, from int, reason string) []Decision {
	d := st.decision(Undo, reason)
	d.Measure, d.Change, d.From, d.To, d.Episode = c.Measure, c.ID, from, c.Before, c.Episode
	return []Decision{d}
}
