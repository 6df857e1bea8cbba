package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// rollBack takes back what an operator names, once what is under way with it has ended.
func (g *Guard) rollBack(ctx context.Context, r control.Request, answer func(*control.Answer, error)) {
	if g.NoLedger != nil {
		answer(nil, &control.Refusal{Code: control.Blocked, Message: "there is no ledger: " + g.NoLedger.Error()})
		return
	}
	if err := g.named(r.Changes); err != nil {
		answer(nil, err)
		return
	}
	if g.mustWait(r) {
		g.soon = true
		g.later = append(g.later, func() {
			if ctx.Err() == nil {
				g.rollBack(ctx, r, answer)
			}
		})
		return
	}
	answer(g.takeBack(r))
}

// mustWait reports whether work is under way with what an operator wants back: a walk over
// the entries of timeouts, which is halted, or a look after the connections of a flow.
func (g *Guard) mustWait(r control.Request) bool {
	for _, c := range g.Actions.Open() {
		switch {
		case !wanted(r, c):
		case isShortening(c) && !g.haltWalk(errHalted):
			return true
		case c.Measure == string(policy.Bypass) && g.loosening.away():
			return true
		}
	}
	return false
}

// resumeLater goes on with what had to wait.
func (g *Guard) resumeLater() {
	later := g.later
	g.later = nil
	for _, again := range later {
		again()
	}
}

// takeBack takes back what an operator names, newest first. The policy keeps off it then,
// as off what somebody else has changed.
func (g *Guard) takeBack(r control.Request) (*control.Answer, error) {
	undo := g.Actions.Undo
	if r.Force {
		undo = g.Actions.UndoForced
	}
	moved, failed := []ledger.Change{}, []string{}
	for _, c := range slices.Backward(slices.Clone(g.Actions.Open())) {
		if !wanted(r, c) {
			continue
		}
		note := fmt.Sprintf("%s, by %s", actions.ByHand, r.By)
		changes, err := undo(c.ID, note)
		if errors.Is(err, actions.ErrNotOpen) { // undone with one below it
			continue
		}
		moved = append(moved, changes...)
		if err != nil && !slices.Contains(failed, err.Error()) { // of the one on top
			failed = append(failed, err.Error())
		}
		for _, m := range changes {
			if !m.State.Open() {
				g.reportEnded(policy.Decision{
					Verb: policy.Undo, Measure: policy.Measure(m.Measure), Change: m.ID, Reason: fmt.Sprintf("%s; keeping off for %s", note, policy.Span(g.Config.Watch.YieldFor)),
					Episode: m.Episode, TimeToFull: policy.Never, Utilization: g.snapshot.Utilization(),
				}, m)
			}
		}
	}
	g.soon = true
	text, err := json.Marshal(moved)
	return &control.Answer{Message: g.rolledBackText(moved, len(failed)), Changes: text, Failed: failed}, err
}

// named checks that each id is that of a change in force.
func (g *Guard) named(ids []int) error {
	for _, id := range ids {
		switch c, known := g.Ledger.Find(id); {
		case !known:
			return &control.Refusal{Code: control.NotFound, Message: fmt.Sprintf("the ledger has no change %d", id)}
		case !c.State.Open():
			return &control.Refusal{Code: control.Blocked, Message: fmt.Sprintf("change %d is not in force: it is %s", id, c.State)}
		}
	}
	return nil
}

// wanted reports whether a change is among those that an operator wants back.
func wanted(r control.Request, c ledger.Change) bool {
	return r.All || r.Restrictions && (isShortening(c) || isLease(c)) || slices.Contains(r.Changes, c.ID)
}

// rolledBackText sums up what came of a rollback.
func (g *Guard) rolledBackText(moved []ledger.Change, failed int) string {
	undone, others := 0, 0
	for _, c := range moved {
		switch c.State {
		case ledger.Undone:
			undone++
		case ledger.Yielded:
			others++
		}
	}
	var parts []string
	switch {
	case undone > 0:
		parts = append(parts, changesText(undone)+" taken back")
	case len(moved) > 0 || failed > 0:
		parts = append(parts, "nothing was taken back")
	default:
		parts = append(parts, "nothing of that is in force")
	}
	if others > 0 {
		parts = append(parts, changesText(others)+" left as somebody else has made it since")
	}
	if undone > 0 && g.Config.Mode > policy.Observe {
		parts = append(parts, fmt.Sprintf("the guardian keeps off for %s (yield_for)", policy.Span(g.Config.Watch.YieldFor)))
	}
	return strings.Join(parts, "; ")
}
