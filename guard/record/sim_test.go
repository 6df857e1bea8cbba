package record

import (
	"net/netip"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A gateway is one as the policy sees it, with a table that refuses what does not fit and
// a guardian that does at once what is decided. Its kernel takes all writes.
type gateway struct {
	state   policy.State
	config  policy.Config
	s       policy.Snapshot
	now     time.Duration
	want    float64 // entries that the traffic would have
	changes []policy.Change
	steps   []Step // as they were decided
	befores []policy.State
	r       *Recorder // nil for none
}

func newGateway(c policy.Config) *gateway {
	return &gateway{
		config: c, now: 100 * time.Second, want: 2000,
		s: policy.Snapshot{
			Wall: time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC), Count: 2000, Max: 65536, Buckets: 65536, MemAvailable: 4 << 30,
			Timeouts: [policy.Timeouts]int{policy.TCPSynSent: 120, policy.TCPTimeWait: 120, policy.UDP: 30},
		},
	}
}

// run lets time pass with so many entries more a second wanted.
func (g *gateway) run(span, pause time.Duration, rate float64) {
	for end := g.now + span; g.now < end; {
		g.step(pause, rate)
	}
}

func (g *gateway) step(pause time.Duration, rate float64) {
	jitter := time.Duration(g.now/7%997) * time.Microsecond
	g.now += pause + jitter
	g.s.Wall = g.s.Wall.Add(pause + jitter + 7*time.Microsecond)
	more := rate * pause.Seconds()
	g.want = max(g.want+more, 1000+float64(g.now/time.Second%13))
	g.s.Count = int(g.want)
	g.s.Losses = policy.Counters{Found: uint64(g.now / time.Second % 3)}
	if over := g.s.Count - g.s.Max; over > 0 {
		g.s.Count, g.want = g.s.Max, float64(g.s.Max)
		g.s.Losses.Drop = uint64(over)
	}
	g.s.MemAvailable = 4<<30 - int64(g.s.Count)*384/4096*4096
	g.s.Changes = append([]policy.Change(nil), g.changes...)
	before := g.state
	after, ds := policy.Decide(g.state, g.s, g.config, g.now)
	g.state = after
	if g.r != nil {
		g.r.Add(&before, &g.s, &g.config, g.now, ds)
	}
	config := g.config
	g.steps = append(g.steps, Step{Now: g.now, Snapshot: g.s, Config: &config, Decisions: ds})
	g.befores = append(g.befores, before)
	for _, d := range ds {
		g.carryOut(d)
	}
	g.s.Approved = nil
}

func (g *gateway) carryOut(d policy.Decision) {
	switch d.Verb {
	case policy.Do:
		ch := policy.Change{
			ID: len(g.changes) + 1, Measure: d.Measure, State: policy.Applied, Episode: d.Episode, Cause: d.Cause,
			Before: d.From, After: d.To, Made: g.now, At: g.now,
		}
		switch d.Measure {
		case policy.RaiseMax:
			g.s.Max = d.To
		case policy.GrowBuckets:
			g.s.Buckets = d.To
		default:
			return
		}
		g.changes = append(g.changes, ch)
	case policy.Undo:
		for i := len(g.changes) - 1; i >= 0; i-- {
			if ch := &g.changes[i]; ch.Measure == d.Measure && ch.State == policy.Applied && ch.ID >= d.Change {
				ch.State, ch.At = policy.Undone, g.now+time.Duration(len(g.changes)-i)
				g.s.Max = ch.Before
			}
		}
	case policy.Yield:
		for i := range g.changes {
			if ch := &g.changes[i]; ch.Measure == d.Measure && ch.State == policy.Applied {
				ch.State, ch.At = policy.Yielded, g.now
			}
		}
	case policy.Judge:
		g.changes[d.Change-1].Outcome = d.Outcome
	}
}

// acting is a policy that raises max, up to a ceiling.
func acting(ceiling int) policy.Config {
	c := policy.Default()
	c.Mode, c.RaiseMax.Ceiling = policy.Act, ceiling
	return c
}

// flood is an incident: calm, a flood that is more than the ceiling, calm again until
// everything is taken back.
func (g *gateway) flood() {
	g.run(2*time.Minute, time.Second, 3)
	g.run(20*time.Second, 200*time.Millisecond, 20_000)
	g.run(10*time.Second, time.Second, -200_000)
	g.run(20*time.Minute, time.Second, 0)
}

// byValue compares addresses by their values.
var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// byBits compares floats that may be no numbers.
var byBits = cmpopts.EquateNaNs()
