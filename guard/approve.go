package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// An approval waits at least so long, and at most, for what it takes to decide: a fresh
// census, a look at a flow, a walk that must end first.
const approvalPatience, longestPatience = 10 * time.Second, 25 * time.Second

// patience is how long an approval may have to wait for a census.
func (g *Guard) patience() time.Duration {
	return min(approvalPatience+g.Config.Census.Takes(), longestPatience)
}

// A pending approval is neither done nor refused yet.
type pending struct {
	policy.Approval
	ctx    context.Context // ends when nobody waits for it any more
	answer func(*control.Answer, error)
}

// approve puts an operator's word before the policy with the next reading, which is taken
// at once.
func (g *Guard) approve(ctx context.Context, r control.Request, answer func(*control.Answer, error)) {
	if slices.ContainsFunc(g.approvals, func(p *pending) bool { return p.ID == r.ID }) {
		answer(nil, &control.Refusal{Code: control.Blocked, Message: r.ID + " is being approved already"})
		return
	}
	if !g.state.Knows(r.ID) {
		answer(nil, &control.Refusal{Code: control.NotFound, Message: r.ID + " is refused: there is no such advice (status lists what there is)"})
		return
	}
	g.approvals = append(g.approvals, &pending{Approval: policy.Approval{ID: r.ID, By: r.By, At: g.Clock()}, ctx: ctx, answer: answer})
	g.soon = true
}

// approved is what operators have approved, for the policy.
func (g *Guard) approved() (list []policy.Approval) {
	g.approvals = slices.DeleteFunc(g.approvals, func(p *pending) bool { return p.ctx.Err() != nil })
	for _, p := range g.approvals {
		list = append(list, p.Approval)
	}
	return list
}

// answerDone answers the approval that a decision rests on.
func (g *Guard) answerDone(d policy.Decision, c ledger.Change, err error) {
	i := slices.IndexFunc(g.approvals, func(p *pending) bool { return p.ID == d.ID })
	if d.ApprovedBy == "" || i < 0 {
		return
	}
	p := g.approvals[i]
	g.approvals = slices.Delete(g.approvals, i, i+1)
	if err != nil {
		g.refuse(p, control.Blocked, fmt.Sprintf("it was tried and failed: %v", err))
		return
	}
	changes, err := json.Marshal([]ledger.Change{c})
	p.answer(&control.Answer{Message: fmt.Sprintf("change %d made: %s", c.ID, Act(d)), Changes: changes}, err)
}

// answerRefused answers approvals that the newest reading speaks against, and those that
// have waited for too long. A policy that was not asked is no reason.
func (g *Guard) answerRefused(decisions []policy.Decision, now time.Duration) {
	for _, p := range slices.Clone(g.approvals) {
		decided := slices.ContainsFunc(decisions, func(d policy.Decision) bool { return d.ID == p.ID && d.Verb == policy.Do })
		why, final := "it could not be begun in time", false
		if !decided {
			why, final = g.state.Refusal(&g.snapshot, p.Approval)
		}
		if !final && now-p.At < g.patience() {
			continue
		}
		g.approvals = slices.DeleteFunc(g.approvals, func(q *pending) bool { return q == p })
		code := control.Stale
		switch {
		case !g.state.Knows(p.ID):
			code = control.NotFound
		case !final:
			code = control.Blocked
		}
		g.refuse(p, code, why)
	}
}

// refuse answers an approval that comes to nothing, and reports it.
func (g *Guard) refuse(p *pending, code control.Code, why string) {
	p.answer(nil, &control.Refusal{Code: code, Message: fmt.Sprintf("%s is refused: %s", p.ID, why)})
	if code != control.NotFound { // which anybody may make up
		g.log(slog.LevelInfo, eventNotApproved, fmt.Sprintf("%s, approved by %s, is refused: %s", p.ID, p.By, why),
			slog.String("ADVICE_ID", p.ID), slog.String("APPROVED_BY", p.By), slog.String("REASON", why))
	}
}

// refuseAll answers what is pending when there are no readings.
func (g *Guard) refuseAll(why string) {
	for _, p := range g.approvals {
		g.refuse(p, control.Blocked, why)
	}
	g.approvals = nil
}
