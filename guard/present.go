package guard

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// status is how things are at the newest reading.
func (g *Guard) status() *control.Status {
	now := g.Clock()
	a, e := &g.state.Now, &g.state.Episode
	s := &control.Status{
		At:     g.started,
		Daemon: control.Process{PID: os.Getpid(), Version: g.Version, Since: g.started, Namespace: g.Namespace},
		Mode:   g.Config.Mode.String(),
		Policy: control.Policy{Source: g.Source(), Hash: g.Hash, Loaded: g.reload.at, Problems: g.reload.problems},
		Blind:  cmp.Or(g.blind, g.nameless), Unable: g.unable,
		Table: g.table(), Hour: g.hour.minutes(now),
		Cause: a.Cause, Pattern: a.Pattern, Confidence: a.Confidence, Losses: losses(a),
		Counting: g.scouting.counting, Acts: g.acts(),
	}
	if !g.snapshot.Wall.IsZero() {
		s.At = g.snapshot.Wall
	}
	if a.Cause != policy.None {
		s.Evidence = a.Evidence()
	}
	if e.Name != "" {
		s.Episode = &control.Episode{Name: e.Name, Since: g.wall(e.Since)}
	}
	if g.paused != (paused{}) {
		s.Paused = &control.Paused{Until: g.wall(g.paused.Until), By: g.paused.By}
	}
	switch {
	case g.Record != nil:
		s.Record = &control.Record{Error: g.unrecorded}
	case g.NoRecord != nil:
		s.Record = &control.Record{Error: g.NoRecord.Error()}
	}
	s.Advice, s.Active, s.Yielded, s.Recent = g.advice(), g.inForce(now), g.yielded(now), g.recent()
	return s
}

func (g *Guard) table() control.Table {
	s, a := &g.snapshot, &g.state.Now
	return control.Table{
		Count: s.Count, Max: s.Max, Unlimited: s.Max == 0, Buckets: s.Buckets, Utilization: s.Utilization(),
		FillRate: a.FillRate, TimeToFull: policy.Seconds(a.TimeToFull),
	}
}

func losses(a *policy.Assessment) control.Losses {
	c, window := a.Lost()
	return control.Losses{
		Losing: a.Losing(), Window: window.Seconds(),
		Drop: c.Drop, EarlyDrop: c.EarlyDrop, InsertFailed: c.InsertFailed, ChainTooLong: c.ChainTooLong,
	}
}

// advice is what would be done in this episode, oldest first.
func (g *Guard) advice() (list []control.Advice) {
	all := slices.Clone(g.state.Advice[:])
	slices.SortStableFunc(all, func(a, b policy.Advice) int { return cmp.Compare(a.Since, b.Since) })
	for _, a := range all {
		if a.ID == "" || a.Verb != policy.Advised || a.Episode != g.state.Episode.Name {
			continue
		}
		d := policy.Decision{Measure: a.Measure, From: a.From, To: a.To}
		if a.Terms != (policy.Terms{}) {
			d.Terms = &a.Terms
		}
		list = append(list, control.Advice{
			ID: a.ID, Measure: a.Measure, About: about(d), Text: Act(d), Reason: a.Reason, Since: g.wall(a.Since), Due: g.state.Due(&a),
		})
	}
	return list
}

// inForce are the changes that the kernel holds, oldest first.
func (g *Guard) inForce(now time.Duration) (list []control.Active) {
	if g.NoLedger != nil {
		return nil
	}
	held := g.held()
	known := map[int]policy.Change{}
	for _, ch := range g.changes() {
		known[ch.ID] = ch
	}
	for _, c := range g.Actions.Open() {
		if c.Boot != g.Ledger.Boot() {
			continue
		}
		x := control.Active{
			ID: c.ID, Measure: policy.Measure(c.Measure), Text: done(c), Cause: policy.Cause(c.Cause), Made: g.wall(c.Made), Outcome: policy.Outcome(c.Outcome),
		}
		if ch, ok := known[c.ID]; ok {
			if left, running := g.state.HoldLeft(&g.snapshot, &g.Config, ch); running {
				x.HoldLeft = new(left.Seconds())
			}
		}
		if len(c.Edits) == 1 {
			if h, ok := held[c.Edits[0].Key]; ok {
				x.LeaseLeft, x.Refused = new(h.Left.Seconds()), new(h.Refused)
			}
		}
		list = append(list, x)
	}
	return list
}

// held is what the kernel says of the leases in force, by key. What can't be read is not
// known.
func (g *Guard) held() map[string]actions.Held {
	if g.Leases == nil || len(g.leases()) == 0 {
		return nil
	}
	all, _ := g.Leases.Held(g.Namespace) // that it can't be read is reported with the next reading
	held := make(map[string]actions.Held, len(all))
	for _, h := range all {
		held[h.Key] = h
	}
	return held
}

// yielded are the changes that somebody else has taken, or an operator has taken back,
// while the guardian keeps off.
func (g *Guard) yielded(now time.Duration) (list []control.Yielded) {
	if g.NoLedger != nil {
		return nil
	}
	off := g.Config.Watch.YieldFor
	for _, c := range g.Actions.Changes() {
		if c.Boot != g.Ledger.Boot() || c.State != ledger.Yielded && len(c.Yielded) == 0 && !actions.RolledBack(c) || now-c.Since >= off {
			continue
		}
		y := control.Yielded{
			ID: c.ID, Measure: policy.Measure(c.Measure), Text: cmp.Or(c.Note, done(c)), RolledBack: actions.RolledBack(c),
			At: g.wall(c.Since), Until: g.wall(c.Since + off),
		}
		if y.RolledBack {
			y.Text = done(c) + ": " + c.Note
		}
		list = append(list, y)
	}
	return list
}

// recentActs is how many changes of the ledger a status tells.
const recentActs = 10

// recent are the newest changes, newest first.
func (g *Guard) recent() (list []control.Act) {
	if g.NoLedger != nil {
		return nil
	}
	for _, c := range slices.Backward(g.Actions.Changes()) {
		if len(list) == recentActs {
			break
		}
		list = append(list, control.Act{
			ID: c.ID, Measure: policy.Measure(c.Measure), Text: done(c), State: string(c.State), At: c.Changed, Outcome: policy.Outcome(c.Outcome), Note: c.Note,
		})
	}
	return list
}

func (g *Guard) acts() control.Acts {
	budget := func(t policy.Tally) control.Budget { return control.Budget{Used: t.Used, Allowed: t.Allowed} }
	acts := control.Acts{All: budget(g.state.Acts("")), Measures: map[policy.Measure]control.Budget{}}
	for _, m := range policy.Measures {
		acts.Measures[m] = budget(g.state.Acts(m))
	}
	return acts
}

// done says what a change has done, or was to do.
func done(c ledger.Change) string {
	if isLease(c) {
		return lease(c)
	}
	d := policy.Decision{Measure: policy.Measure(c.Measure)}
	if isShortening(c) {
		if d.Timeouts = timeoutsOf(c.Edits, false); d.Timeouts != nil {
			return "shorten timeouts: " + timeouts(d.Timeouts)
		}
	}
	before, after, ok := values(c)
	if d.From, d.To = before, after; !ok {
		return fmt.Sprintf("%s of %d values", c.Measure, len(c.Edits))
	}
	return Act(d)
}
