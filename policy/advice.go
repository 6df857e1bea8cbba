package policy

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// Advice is something that a measure would do and has not done: because of its mode, or
// because something stood in the way.
type Advice struct {
	ID      string // of the Decision
	Episode string
	Measure Measure
	// Verb is what became of it: Advised, Observed, or Do since it was done.
	Verb Verb
	// From, To, Terms and Reason are those of the Decision when it was wanted last.
	From, To int
	Terms    Terms
	Reason   string
	Obstacle string        // why it is not done in mode act, or not though it is approved
	Since    time.Duration // boot clock when it was first wanted
	Wanted   time.Duration // boot clock when it was wanted last

	said bool // under the policy in force
}

// maxAdvice is how much advice is kept: all that can be wanted at once. Beyond it what has
// not been wanted for longest is forgotten.
const maxAdvice = MaxLimited + maxFlows + 3

// wish decides about what a measure wants at this reading. It is done in mode act as often
// as the policy allows, and in mode advise where an operator has approved it; what is not
// done is said once. Unable is why it can't be done, the first that is not empty.
func (st *State) wish(s *Snapshot, mode Mode, d Decision, now time.Duration, unable ...string) []Decision {
	d.ID = st.idOf(s, &d)
	by := s.approvedBy(d.ID)
	obstacle := cmp.Or(s.Paused, s.Unable, cmp.Or(unable...))
	if by == "" {
		obstacle = cmp.Or(obstacle, st.acts.exhausted(d.Measure))
	}
	verb := verbOf(mode, by != "", obstacle)
	a := st.advice(&d, verb, now)
	a.Obstacle = obstacle
	if verb == Advised && obstacle != "" && (mode == Act || by != "") {
		d.Reason += "; not done: " + obstacle
	}
	a.Reason = d.Reason
	if d.Verb = verb; verb == Do {
		d.ApprovedBy = by
		st.acts.done(d.Measure, by)
		return []Decision{d}
	}
	if once(&a.said) {
		return nil
	}
	return []Decision{d}
}

// verbOf is what becomes of a wish in a mode that is not off.
func verbOf(mode Mode, approved bool, obstacle string) Verb {
	switch {
	case mode == Observe:
		return Observed
	case mode == Act && obstacle == "", approved && obstacle == "":
		return Do
	}
	return Advised
}

// idOf names a wish by its measure, the trouble, whom it is about and how much has been
// done about them: at every reading and in every mode the same, until it is done. What is
// approved must be what was said, so timeouts have another for each level.
func (st *State) idOf(s *Snapshot, d *Decision) string {
	whom, done := d.whom(), 0
	for i := range s.Changes {
		ch := &s.Changes[i]
		if ch.Measure == d.Measure && ch.State != Failed && !ch.RolledBack && ch.Terms.whom() == whom && st.thisPhase(*ch) {
			done++
		}
	}
	h := fnv.New32a()
	fmt.Fprint(h, st.Episode.Name, st.Episode.phase, d.Measure, whom, done) // a hash takes all
	if d.Measure == ShortenTimeouts {
		fmt.Fprint(h, d.To)
		for _, t := range d.Timeouts {
			fmt.Fprint(h, t.Name)
		}
	}
	return fmt.Sprintf("%s-%05x", d.Measure, h.Sum32()&0xfffff)
}

// whom is the source or flow that terms are about, empty where they are about none.
func (t *Terms) whom() string {
	if t.Source.IsValid() {
		return t.Source.String()
	}
	return t.Flow
}

func (d *Decision) whom() string {
	if d.Terms == nil {
		return ""
	}
	return d.Terms.whom()
}

// approvedBy is who has approved a piece of advice, empty if nobody has.
func (s *Snapshot) approvedBy(id string) string {
	for _, a := range s.Approved {
		if a.ID == id {
			return a.By
		}
	}
	return ""
}

// advice keeps what is wanted at this reading.
func (st *State) advice(d *Decision, v Verb, now time.Duration) *Advice {
	a := &st.Advice[0]
	for i := range st.Advice {
		switch k := &st.Advice[i]; {
		case k.ID == d.ID:
			a = k
		case a.ID != d.ID && (k.ID == "" && a.ID != "" || k.Wanted < a.Wanted):
			a = k
		}
	}
	if a.ID != d.ID {
		*a = Advice{ID: d.ID, Episode: d.Episode, Measure: d.Measure, Since: now}
	}
	a.Verb, a.From, a.To, a.Wanted = v, d.From, d.To, now
	if d.Terms != nil {
		a.Terms = *d.Terms
	}
	return a
}

// Due reports whether a piece of advice is still what the policy wants: at the newest
// reading, or at the newest census where that decides.
func (st *State) Due(a *Advice) bool {
	switch {
	case a.ID == "" || a.Verb == Do || a.Episode != st.Episode.Name:
		return false
	case a.Measure == LimitSource:
		return a.Wanted >= st.asked && st.Now.ofSources()
	}
	return a.Wanted == st.learned
}

// Knows reports whether there has been such advice lately.
func (st *State) Knows(id string) bool { return st.known(id) != nil }

func (st *State) known(id string) *Advice {
	for i := range st.Advice {
		if a := &st.Advice[i]; a.ID == id && id != "" {
			return a
		}
	}
	return nil
}

// Refusal says why an approval has not led to an act, after a snapshot with it. Where it is
// not final the next snapshots may tell more: it takes a fresh census, or a look at a flow.
func (st *State) Refusal(s *Snapshot, ap Approval) (why string, final bool) {
	a := st.known(ap.ID)
	switch {
	case a == nil:
		return "there is no such advice", true
	case a.Verb == Do:
		return "it has been done" + st.since(s, a), true
	case a.Episode != st.Episode.Name:
		return "the trouble that it was for is over", true
	case a.Wanted == st.learned && a.Verb == Observed:
		return fmt.Sprintf("%s is in mode observe: approval is for what is advised", a.Measure), true
	case a.Wanted == st.learned && a.Obstacle != "":
		return a.Obstacle, true
	case a.Measure == LimitSource && st.Now.Census.At <= ap.At:
		return "there is no fresh census that tells whether it is still right", false
	case a.Measure == LimitSource:
		return "the newest census no longer speaks for it: " + st.Now.figures(), true
	case a.Measure == Bypass:
		return "it is not known whether the flow may bypass tracking now", false
	}
	return "it is not wanted now: " + st.Now.figures() + st.instead(a), true
}

// reopen makes advice again of what was done in vain, or rolled back by hand: an operator
// may approve it once more.
func (st *State) reopen(s *Snapshot) {
	for i := range st.Advice {
		a := &st.Advice[i]
		if a.Verb != Do || a.Episode != st.Episode.Name {
			continue
		}
		switch ch, _ := st.newest(s, a); {
		case ch.State == Failed:
			a.Verb, a.Obstacle = Advised, "the kernel refused it"
		case ch.RolledBack:
			a.Verb, a.Obstacle = Advised, "it was rolled back by hand"
		}
	}
}

// newest is the newest change of this phase that a piece of advice may have led to.
func (st *State) newest(s *Snapshot, a *Advice) (Change, bool) {
	for _, ch := range slices.Backward(s.Changes) {
		if ch.Measure == a.Measure && ch.Terms.whom() == a.Terms.whom() && st.thisPhase(ch) {
			return ch, true
		}
	}
	return Change{}, false
}

// since says what has become of what was done, empty where it is in force.
func (st *State) since(s *Snapshot, a *Advice) string {
	switch ch, _ := st.newest(s, a); ch.State {
	case Undone:
		return " and taken back"
	case Yielded:
		return ", and somebody else has changed it since"
	}
	return ""
}

// insists reports whether an operator approves something of a measure at this reading: it
// does not wait then for the kernel to think better of it, nor for the time in which the
// guardian keeps off what was rolled back.
func (st *State) insists(s *Snapshot, m Measure) bool {
	return slices.ContainsFunc(s.Approved, func(ap Approval) bool {
		a := st.known(ap.ID)
		return a != nil && a.Measure == m && a.Episode == st.Episode.Name
	})
}

// instead names what is advised now in the place of something else, empty if nothing is.
func (st *State) instead(a *Advice) string {
	for i := range st.Advice {
		if k := &st.Advice[i]; k.ID != a.ID && k.Measure == a.Measure && k.Terms.whom() == a.Terms.whom() && st.Due(k) {
			return "; " + k.ID + " is advised now"
		}
	}
	return ""
}

// hurry is when the newest approval was given that takes a fresh census, 0 without one.
func (st *State) hurry(s *Snapshot) (at time.Duration) {
	for _, ap := range s.Approved {
		for i := range st.Advice {
			if a := &st.Advice[i]; a.ID == ap.ID && a.Measure == LimitSource && a.Verb != Do && a.Episode == st.Episode.Name {
				at = max(at, ap.At)
			}
		}
	}
	return at
}
