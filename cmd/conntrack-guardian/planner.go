package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A planner works out what a policy would do, by readings of its own.
type planner struct {
	sensor guard.Sensor
	scout  guard.Scout
	allow  guard.Allowlist
	clock  func() time.Duration // since boot
	config policy.Config

	plan
	seen      policy.Snapshot
	state     policy.State
	inspected bool
}

// makePlan watches the running kernel.
func makePlan(ctx context.Context, file config.File, stateDir string) (plan, error) {
	sensor, err := sense.Open(file.Namespace)
	if err != nil {
		return plan{}, err
	}
	defer sensor.Close()
	changes, err := ledger.Read(stateDir)
	if err != nil {
		return plan{}, err
	}
	id, err := boot.ID()
	if err != nil {
		return plan{}, err
	}
	p := planner{
		sensor: sensor, scout: sense.NewScout(file.Namespace), allow: sense.NewAllowlist(file.Namespace), clock: boot.Now, config: file.Policy,
		seen: policy.Snapshot{Changes: guard.Recall(changes, id, file.Namespace)},
	}
	// Without what the daemon has learned it is a plan all the same.
	p.state.Baseline, _ = guard.LoadBaseline(stateDir)
	return p.make(ctx)
}

// make takes readings until something would be done, or there are enough of them.
func (p *planner) make(ctx context.Context) (plan, error) {
	p.config.Watch.Window = min(p.config.Watch.Window, planWindow)
	// A plan changes nothing: to count takes a table of nft.
	p.config.Census.CountNew = policy.CountNever
	p.plan = plan{Mode: p.config.Mode.String(), Allowed: []allowedSource{}, Flows: []flowSight{}, Decisions: []policy.Decision{}}
	p.list(ctx)
	for i := range planReadings {
		if i > 0 {
			time.Sleep(planApart)
		}
		ds, err := p.step(ctx)
		if err != nil {
			return plan{}, err
		}
		p.Decisions = append(p.Decisions, p.unsaid(ds)...)
		// A second act would follow only what the first had done.
		if acts(ds) {
			break
		}
	}
	if err := p.lookAgain(ctx); err != nil {
		return plan{}, err
	}
	for i := range p.Decisions {
		p.Decisions[i].ID = "" // the daemon has other names: it has another episode
	}
	p.read(&p.seen, &p.state.Now)
	return p.plan, nil
}

// step takes a reading and decides. Where that asks who fills the table, or about
// flows, it decides again with what the daemon would know a moment later.
func (p *planner) step(ctx context.Context) ([]policy.Decision, error) {
	if err := p.sensor.Read(&p.seen); err != nil {
		return nil, err
	}
	before, now := p.state, p.clock()
	state, ds := policy.Decide(before, p.seen, p.config, now)
	again := false
	if p.Census == "" && state.WantsCensus(&p.config, 0, now) {
		p.Census, again = p.look(ctx), true
	}
	if !p.inspected && state.WantsFlows(&p.seen, &p.config, 0, now) {
		p.inspect(ctx)
		again = true
	}
	if again {
		state, ds = policy.Decide(before, p.seen, p.config, now)
	}
	p.state = state
	return ds, nil
}

// look takes a census, and says what came of it.
func (p *planner) look(ctx context.Context) string {
	seen, err := p.scout.Look(ctx, p.config)
	if err != nil {
		return "none: " + err.Error()
	}
	p.seen.Census = seen.Census
	return fmt.Sprintf("%s entries read", policy.Number(seen.Census.Read))
}

// growthSpan is how far apart two censuses are that tell how fast entries become more.
const growthSpan = time.Second

// moreLooks is how many censuses follow the first one at the most. The first of them
// tells how fast a source makes connections, the next one whether it goes on.
const moreLooks = 2

// lookAgain takes further censuses where sources may be limited and there is trouble.
// What an earlier one has told of sources is said anew.
func (p *planner) lookAgain(ctx context.Context) error {
	if p.seen.Census.At == 0 || p.state.Now.Cause == policy.None || !p.limits() {
		return nil
	}
	first, outcome := p.seen.Census.At, p.Census
	for n := range moreLooks {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(growthSpan - (p.clock() - p.seen.Census.At)):
		}
		last := p.seen.Census.At
		if why := p.look(ctx); p.seen.Census.At == last {
			p.Census += fmt.Sprintf("; census %d: %s", n+2, why)
			break
		}
		p.Census = fmt.Sprintf("%s, %d times in %s: connections/s are what entries became more", outcome, n+2, policy.Span(p.seen.Census.At-first))
		p.state.Reconsider()
		ds, err := p.step(ctx)
		if err != nil {
			return err
		}
		if p.resay(ds) || !p.suspects() {
			break
		}
	}
	return nil
}

// resay puts what a further census says of sources in the place of what an earlier one
// said. It reports whether that is anything.
func (p *planner) resay(ds []policy.Decision) bool {
	of := func(d policy.Decision) bool { return d.Measure == policy.LimitSource }
	if !slices.ContainsFunc(ds, of) {
		return false
	}
	p.Decisions = slices.DeleteFunc(p.Decisions, of)
	for _, d := range ds {
		if of(d) {
			p.Decisions = append(p.Decisions, d)
		}
	}
	return true
}

// suspects reports whether the newest census has a source that would be limited if it
// went on.
func (p *planner) suspects() bool {
	m := &p.config.LimitSource
	return slices.ContainsFunc(p.seen.Census.Sources[:], func(h policy.Holder) bool {
		return h.Share.Low >= m.Share && h.Steady > float64(m.Rate)
	})
}

// limits reports whether the policy has sources limited, if only in advice.
func (p *planner) limits() bool {
	return min(p.config.Mode, p.config.LimitSource.Mode) > policy.Off
}

// list finds who is never limited.
func (p *planner) list(ctx context.Context) {
	if !p.limits() {
		return
	}
	found, err := p.allow.Read(ctx, p.config)
	p.seen.Allowed = found
	if err != nil {
		p.Unlisted = err.Error()
	}
	for _, a := range found {
		p.Allowed = append(p.Allowed, allowedSource{a.Prefix, a.Why})
	}
	for _, prefix := range p.config.LimitSource.Allow {
		p.Allowed = append(p.Allowed, allowedSource{prefix, "allowed by the policy"})
	}
}

// inspect looks for the flows that may bypass tracking.
func (p *planner) inspect(ctx context.Context) {
	p.inspected = true
	found, err := p.scout.Inspect(ctx, p.config)
	p.seen.Flows = found
	if err != nil {
		p.Unseen = err.Error()
	}
	for _, f := range found {
		p.Flows = append(p.Flows, flowSight{f.Flow, f.Seen, f.NAT})
	}
}

// read fills in what was read and found.
func (p *plan) read(s *policy.Snapshot, a *policy.Assessment) {
	p.Count, p.Max, p.Buckets, p.Utilization = s.Count, s.Max, s.Buckets, a.Utilization
	p.FillRate, p.TimeToFull = a.FillRate, policy.Seconds(a.TimeToFull)
	p.Cause, p.Pattern, p.Confidence, p.Evidence = a.Cause, a.Pattern, a.Confidence, a.Evidence()
}

// unsaid are decisions without those about a flow that are there already: what a plan
// does not do is decided again.
func (p *planner) unsaid(ds []policy.Decision) []policy.Decision {
	return slices.DeleteFunc(ds, func(d policy.Decision) bool {
		return d.Measure == policy.Bypass && d.Terms != nil && slices.ContainsFunc(p.Decisions, func(said policy.Decision) bool {
			return said.Measure == policy.Bypass && said.Verb == d.Verb && said.Terms != nil && *said.Terms == *d.Terms
		})
	})
}

// acts reports whether what is done leaves nothing of the same to be seen. A flow that
// passes untracked says nothing of the trouble: a lifeline does at the first reading.
func acts(ds []policy.Decision) bool {
	for _, d := range ds {
		if d.Measure == policy.Bypass {
			continue
		}
		switch d.Verb {
		case policy.Do, policy.Undo, policy.Yield, policy.Prune:
			return true
		}
	}
	return false
}
