package page

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A wish is a decision to do something whose change has not been seen yet.
type wish struct {
	policy.Decision
	at time.Duration
}

// followed keeps up what becomes of changes.
type followed struct {
	list    []*Change // in the order in which they were seen
	byID    map[int]*Change
	wishes  []wish
	effects effects
	// unlisted is that there were more changes than are followed.
	unlisted bool
}

// patience is how long a decision to do something waits for its change. The executor
// makes it before the next reading.
const patience = 5 * time.Second

// mostChanges bounds how many changes are followed: a ledger keeps fewer, but a file may
// come from anywhere.
const mostChanges = 2000

// see takes in the changes of a reading at an offset. base is the boot clock at the
// first reading, and episode the one that is told of.
func (f *followed) see(s *policy.Snapshot, episode string, base, at time.Duration) {
	for _, c := range s.Changes {
		known := f.byID[c.ID]
		if known == nil {
			if c.State != policy.Applied && c.At < base { // it was over before
				continue
			}
			if len(f.list) == mostChanges {
				f.unlisted = true
				continue
			}
			known = f.meet(c, episode, base)
		}
		f.update(known, c, base)
	}
	f.wishes = slices.DeleteFunc(f.wishes, func(w wish) bool { return at-w.at > patience })
}

// meet begins to follow a change.
func (f *followed) meet(c policy.Change, episode string, base time.Duration) *Change {
	n := &Change{
		ID: c.ID, Measure: c.Measure, What: whatOf(c), made: c.Made - base,
		Earlier: c.Episode != episode, State: policy.Applied,
	}
	if c.Terms.Source.IsValid() {
		n.source = sourceText(c.Terms.Source)
	}
	for i, w := range f.wishes {
		if w.about(c) {
			n.Reason, n.ApprovedBy = w.Reason, w.ApprovedBy
			f.wishes = slices.Delete(f.wishes, i, i+1)
			break
		}
	}
	if !n.Earlier && c.State != policy.Failed {
		f.effects.begin(n)
	}
	f.byID[c.ID] = n
	f.list = append(f.list, n)
	return n
}

// about reports whether a change is what was decided.
func (w wish) about(c policy.Change) bool {
	if w.Terms != nil && (w.Terms.Source != c.Terms.Source || w.Terms.Flow != c.Terms.Flow) {
		return false
	}
	return w.Measure == c.Measure && w.To == c.After
}

func (f *followed) update(n *Change, c policy.Change, base time.Duration) {
	n.State, n.since, n.Outcome = c.State, c.At-base, c.Outcome
	if c.State == policy.Applied {
		n.since = n.made
	}
	n.Walk = walkText(c)
}

// walkText is what came of the existing entries, empty where nothing is known.
func walkText(c policy.Change) string {
	w := c.Walk
	switch {
	case w.Deleted+w.Retimed == 0:
		return ""
	case c.Measure == policy.LimitSource:
		return policy.Number(w.Deleted) + " entries without a reply deleted"
	}
	return fmt.Sprintf("%s entries deleted, %s end sooner", policy.Number(w.Deleted), policy.Number(w.Retimed))
}

// Void is the state of a change that a restart of the machine has ended.
const Void policy.ChangeState = "void"

// void ends all changes in force: the kernel began anew.
func (f *followed) void(at time.Duration) {
	for _, c := range f.list {
		if c.State == policy.Applied {
			c.State, c.since, c.Ended = Void, at, "the machine was started anew"
		}
	}
	f.wishes = nil
}

// hear takes in a decision.
func (f *followed) hear(d policy.Decision, at time.Duration) {
	switch d.Verb {
	case policy.Do:
		if len(f.wishes) < mostChanges {
			f.wishes = append(f.wishes, wish{d, at})
		}
	case policy.Judge:
		if c := f.byID[d.Change]; c != nil {
			c.Outcome, c.Judged = d.Outcome, d.Reason
		}
	case policy.Undo, policy.Yield:
		for _, c := range f.list {
			if c.State == policy.Applied && ends(d, c) {
				c.Ended = d.Reason
			}
		}
	}
}

// ends reports whether a decision to take back or to give up a change is about
// another one as well: those of a number rest on each other.
func ends(d policy.Decision, c *Change) bool {
	return c.ID == d.Change || d.Terms == nil && c.Measure == d.Measure && c.ID > d.Change
}

// whatOf says what a change does.
func whatOf(c policy.Change) string {
	d := policy.Decision{Verb: policy.Do, Measure: c.Measure, From: c.Before, To: c.After}
	if c.Terms != (policy.Terms{}) {
		d.Terms = &c.Terms
	}
	for t, e := range c.Timeouts {
		if e != (policy.TimeoutEdit{}) {
			d.Timeouts = append(d.Timeouts, policy.TimeoutChange{Name: policy.Timeout(t).String(), From: e.Before, To: e.After})
		}
	}
	return guard.Act(d)
}

// sourceText writes a prefix, a single address without its length.
func sourceText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
