package record

import (
	"iter"
	"reflect"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Pair is a recorded step beside what the policy decides of it in the replay.
type Pair struct {
	Step
	// Seen is the snapshot that the replay went by: the recorded one until what was done
	// differs, and an estimate from then on.
	Seen      policy.Snapshot
	Replayed  []policy.Decision
	Same      bool // the decisions are those of the record, to the letter
	Parted    bool // what is done differs here for the first time
	Estimated bool // Seen is an estimate
	// Doubt is why the replay can't know what the policy had in mind here, empty when it
	// does.
	Doubt string
}

// Unmodelled is what an estimate leaves out, for people.
const Unmodelled = "In the estimate there are as many entries as there were, and those that the full table refused, for two minutes each. " +
	"What shortened timeouts, limits and bypasses free is not in it, or is as it was."

// Replay decides each step of a record again, by a policy, or as recorded if c is nil.
// Until what is done first differs, it is decided on the snapshots as they were recorded:
// so the same policy decides the same. From then on the kernel's values and the changes in
// force are those that the replay has made itself.
//
// Damage is yielded as Record.Steps does.
func Replay(r *Record, c *policy.Config) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		p := player{policy: c}
		for seg, err := range r.segments() {
			if err != nil {
				if !yield(Pair{}, err) {
					return
				}
				continue
			}
			p.enter(seg)
			for st, err := range seg.steps() {
				pair := Pair{}
				if err == nil {
					pair = p.play(st)
				}
				if !yield(pair, err) {
					return
				}
			}
		}
	}
}

// A player is the policy in the replay and the world that it decides on.
type player struct {
	policy *policy.Config // nil: as recorded
	state  policy.State
	doubt  string
	boot   string
	begun  bool
	world  *world // nil while it is the recorded one
	stale  bool   // the policy was another before: it is in force from the next step
}

// enter takes up the state that a segment begins with, unless the replay has come to it
// by itself.
func (p *player) enter(g *segment) {
	rebooted := p.begun && g.h.Boot != p.boot
	if rebooted {
		p.world = nil // changes of another boot are void
	}
	restarted := g.gap != "" && g.h.Fresh
	p.boot = g.h.Boot
	switch {
	case p.begun && g.resumes:
		return
	case p.world != nil && restarted:
		p.state = policy.State{Baseline: p.state.Baseline}
		return
	case p.world != nil:
		return // what it has missed it can't know
	}
	p.begun = true
	var exact bool
	var why string
	if p.state, exact, why = g.h.state(); !exact {
		p.doubt = why
	}
	p.stale = p.policy != nil && !reflect.DeepEqual(p.policy, g.config)
}

// play decides one step again.
func (p *player) play(st Step) Pair {
	c := st.Config
	if p.policy != nil {
		c = p.policy
	}
	if p.stale || st.Reloaded && p.policy == nil {
		p.state.Reconsider()
		p.stale = false
	}
	pair := Pair{Step: st, Seen: st.Snapshot, Estimated: p.world != nil, Doubt: p.doubt}
	p.doubt = ""
	if p.world != nil {
		pair.Seen = p.world.see(&st, c)
	}
	p.state, pair.Replayed = policy.Decide(p.state, pair.Seen, *c, st.Now)
	pair.Same = sameDecisions(pair.Replayed, st.Decisions)
	if p.world == nil && !sameDecisions(acts(pair.Replayed), acts(st.Decisions)) {
		pair.Parted, p.world = true, newWorld(&st)
	}
	if p.world != nil {
		p.world.carryOut(pair.Replayed, st.Now)
		p.world.remember(&st)
	}
	return pair
}

// sameDecisions tells none from none not.
func sameDecisions(a, b []policy.Decision) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

// acts are what of some decisions changes anything, without the reasons.
func acts(ds []policy.Decision) (list []policy.Decision) {
	for _, d := range ds {
		switch d.Verb {
		case policy.Do, policy.Undo, policy.Prune, policy.Yield:
			list = append(list, policy.Decision{
				Verb: d.Verb, Measure: d.Measure, From: d.From, To: d.To, Timeouts: d.Timeouts, Terms: d.Terms, Change: d.Change,
			})
		}
	}
	return list
}
