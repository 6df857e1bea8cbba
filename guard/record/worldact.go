package record

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// carryOut does at once what is decided, as a kernel that refuses nothing would.
func (w *world) carryOut(ds []policy.Decision, now time.Duration) {
	for _, d := range ds {
		switch d.Verb {
		case policy.Do:
			w.do(d, now)
		case policy.Undo:
			w.undo(d, now)
		case policy.Yield:
			w.yield(d, now)
		case policy.Judge:
			w.each(d.Change, func(ch *policy.Change) { ch.Outcome = d.Outcome })
		case policy.Prune:
			w.each(d.Change, func(ch *policy.Change) { ch.Walk = policy.Walk{Done: true} })
		}
	}
}

func (w *world) each(id int, do func(*policy.Change)) {
	for i := range w.changes {
		if w.changes[i].ID == id {
			do(&w.changes[i])
		}
	}
}

func (w *world) do(d policy.Decision, now time.Duration) {
	w.newest++
	ch := policy.Change{
		ID: w.newest, Measure: d.Measure, State: policy.Applied, Episode: d.Episode, Cause: d.Cause,
		Before: d.From, After: d.To, Made: now, At: now, ApprovedBy: d.ApprovedBy,
	}
	if d.Terms != nil {
		ch.Terms = *d.Terms
	}
	for _, e := range d.Timeouts {
		if t, ok := policy.TimeoutNamed(e.Name); ok {
			ch.Timeouts[t] = policy.TimeoutEdit{Before: e.From, After: e.To}
		}
	}
	w.changes = append(w.changes, ch)
	w.write(&ch, func(e policy.TimeoutEdit) int { return e.After }, d.To)
}

// undo takes back a change and, of a stack, those above it.
func (w *world) undo(d policy.Decision, now time.Duration) {
	for i := len(w.changes) - 1; i >= 0; i-- {
		ch := &w.changes[i]
		above := d.Terms == nil && ch.Measure == d.Measure && ch.ID >= d.Change
		if ch.State != policy.Applied || !above && ch.ID != d.Change {
			continue
		}
		ch.State, ch.At = policy.Undone, now
		w.write(ch, func(e policy.TimeoutEdit) int { return e.Before }, ch.Before)
	}
}

// write puts a change's values into the kernel of this world.
func (w *world) write(ch *policy.Change, value func(policy.TimeoutEdit) int, number int) {
	switch ch.Measure {
	case policy.RaiseMax:
		w.s.Max = number
	case policy.GrowBuckets:
		w.s.Buckets = number
	case policy.ShortenTimeouts:
		for t, e := range ch.Timeouts {
			if e != (policy.TimeoutEdit{}) {
				w.s.Timeouts[t] = value(e)
			}
		}
	}
}

// yield gives up all changes of a measure, of those to timeouts what somebody else has
// taken.
func (w *world) yield(d policy.Decision, now time.Duration) {
	for i := range w.changes {
		ch := &w.changes[i]
		if ch.Measure != d.Measure || ch.State != policy.Applied {
			continue
		}
		for _, e := range d.Timeouts {
			if t, ok := policy.TimeoutNamed(e.Name); ok && ch.Timeouts[t] != (policy.TimeoutEdit{}) {
				ch.Timeouts[t], ch.Lost[t] = policy.TimeoutEdit{}, true
			}
		}
		if d.Measure != policy.ShortenTimeouts || ch.Timeouts == ([policy.Timeouts]policy.TimeoutEdit{}) {
			ch.State, ch.At = policy.Yielded, now
		}
	}
}
