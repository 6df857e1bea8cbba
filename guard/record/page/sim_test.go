package page

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A gateway is one as the policy sees it: a table that refuses what does not fit and
// a guardian that does at once what was decided. It records each step.
type gateway struct {
	cfg   policy.Config
	st    policy.State
	s     policy.Snapshot
	now   time.Duration
	steps []record.Step

	want      int                                          // entries that the traffic would have
	census    policy.Census                                // what a census finds
	asked     time.Duration                                // when the newest was taken
	refused   float64                                      // packets a second that a limited source has refused
	lossesNow func(u float64, refused int) policy.Counters // what is lost of those refused
}

func newGateway(cfg policy.Config) *gateway {
	return &gateway{
		cfg: cfg, now: 7 * time.Hour,
		s: policy.Snapshot{
			Max: 65536, Buckets: 65536, MemAvailable: 4 << 30, Wall: time.Date(2026, 3, 14, 2, 11, 0, 0, time.UTC),
		},
		lossesNow: func(_ float64, n int) policy.Counters { return policy.Counters{Drop: uint64(n)} },
	}
}

// run takes readings for a span while the traffic goes from one demand to another.
func (g *gateway) run(span time.Duration, from, to int) {
	for end, begun := g.now+span, g.now; g.now < end; {
		pause := policy.Pause(&g.s, &g.cfg)
		g.now += pause
		g.s.Wall = g.s.Wall.Add(pause)
		g.read(from + int(float64(to-from)*float64(g.now-begun)/float64(span)))
		g.decide()
	}
}

// read takes one reading while the traffic would have so many entries.
func (g *gateway) read(want int) {
	grown := max(want-max(g.want, g.s.Max), 0)
	g.want = want
	g.s.Count = min(want, g.s.Max)
	g.s.Losses = g.lossesNow(g.s.Utilization(), grown)
	g.s.Leases = nil
	for _, c := range g.s.Changes {
		if c.Measure == policy.LimitSource && c.State == policy.Applied {
			g.s.Leases = append(g.s.Leases, policy.Lease{Change: c.ID, Refused: g.refused})
		}
	}
	if g.census.Read > 0 && g.st.WantsCensus(&g.cfg, g.asked, g.now) {
		g.asked = g.now
		g.s.Census = g.census
		g.s.Census.At, g.s.Census.Table = g.now, g.s.Count
	}
}

func (g *gateway) decide() {
	step := record.Step{Now: g.now, Snapshot: g.s, Config: &g.cfg}
	step.Snapshot.Changes = slices.Clone(g.s.Changes)
	g.st, step.Decisions = policy.Decide(g.st, g.s, g.cfg, g.now)
	g.steps = append(g.steps, step)
	for _, d := range step.Decisions {
		g.carryOut(d)
	}
}

func (g *gateway) carryOut(d policy.Decision) {
	switch d.Verb {
	case policy.Do:
		c := policy.Change{
			ID: len(g.s.Changes) + 1, Measure: d.Measure, State: policy.Applied, Episode: d.Episode, Cause: d.Cause,
			Before: d.From, After: d.To, Made: g.now + time.Millisecond, At: g.now + time.Millisecond,
		}
		if d.Terms != nil {
			c.Terms = *d.Terms
		}
		g.s.Changes = append(g.s.Changes, c)
		g.write(d.Measure, d.To)
	case policy.Undo:
		for i := len(g.s.Changes) - 1; i >= 0; i-- {
			if c := &g.s.Changes[i]; c.State == policy.Applied && (c.ID == d.Change || c.Measure == d.Measure && d.Terms == nil && c.ID > d.Change) {
				c.State, c.At = policy.Undone, g.now+time.Millisecond
				g.write(c.Measure, c.Before)
			}
		}
	case policy.Judge:
		g.s.Changes[d.Change-1].Outcome = d.Outcome
	}
}

func (g *gateway) write(m policy.Measure, value int) {
	switch m {
	case policy.RaiseMax:
		g.s.Max = value
	case policy.GrowBuckets:
		g.s.Buckets = value
	}
}

func (g *gateway) all() iter.Seq2[record.Step, error] {
	return func(yield func(record.Step, error) bool) {
		for _, s := range g.steps {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// share is one as a sample of 20,000 entries finds it.
func share(f float64) policy.Share { return policy.Share{Share: f, Low: f - 0.007, High: f + 0.007} }

func censusOf(closing, opening float64, counted bool, sources ...float64) policy.Census {
	k := policy.Census{Read: 20_000, Closing: share(closing), Opening: share(opening), Counted: counted}
	for i, f := range sources {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128, 0, byte(4 + 17*i)}), 32)
		k.Sources[i] = policy.Holder{Prefix: p, Share: share(f), New: 20_000 * f, Steady: 19_000 * f}
		k.New += 20_000 * f
	}
	k.Fastest = k.Sources[0]
	return k
}

func acting() policy.Config {
	cfg := policy.Default()
	cfg.Mode = policy.Act
	cfg.RaiseMax.Ceiling = 262_144
	cfg.RaiseMax.Hold = time.Minute
	cfg.ShortenTimeouts.Mode = policy.Off
	return cfg
}

// flood is one that max is raised for, and lowered again; something is lost at first.
func flood() *gateway {
	cfg := acting()
	cfg.RaiseMax.Step = 1.5
	g := newGateway(cfg)
	g.census = censusOf(0.12, 0.41, true, 0.34, 0.11, 0.04, 0.02, 0.013, 0.011)
	g.lossesNow = func(_ float64, n int) policy.Counters {
		return policy.Counters{Drop: uint64(n) * 2 / 3, EarlyDrop: uint64(n) / 3}
	}
	g.run(3*time.Minute, 9000, 12_000)
	g.run(200*time.Millisecond, 12_000, 90_000)
	g.run(9*time.Second, 90_000, 205_000)
	g.run(60*time.Second, 205_000, 180_000)
	g.run(30*time.Second, 180_000, 9000)
	g.run(9*time.Minute, 9000, 12_000)
	return g
}

// limits are many sources limited at once.
func limits(n int) *gateway {
	cfg := acting()
	cfg.RaiseMax.Ceiling = 65_536
	cfg.LimitSource.MaxSources = 64
	cfg.LimitSource.Share = 0.01
	g := newGateway(cfg)
	shares := make([]float64, n)
	for i := range shares {
		shares[i] = 0.9 / float64(n)
	}
	g.census = censusOf(0, 0.8, true, shares...)
	for i := range n {
		g.census.Sources[i].Steady = 500
	}
	g.refused = 900
	g.run(10*time.Second, 10_000, 10_000)
	g.run(3*time.Second, 10_000, 60_000)
	g.run(3*time.Minute, 60_000, 40_000)
	g.refused, g.census = 0, censusOf(0, 0.1, true, 0.02)
	g.run(10*time.Minute, 20_000, 10_000)
	return g
}

// advised is a flood in mode advise.
func advised() *gateway {
	cfg := policy.Default()
	g := newGateway(cfg)
	g.census = censusOf(0.7, 0.1, false, 0.05, 0.04)
	g.run(time.Minute, 20_000, 20_000)
	g.run(20*time.Second, 20_000, 90_000)
	g.run(40*time.Second, 90_000, 90_000)
	g.run(20*time.Second, 90_000, 20_000)
	g.run(8*time.Minute, 20_000, 20_000)
	return g
}

// ports is a gateway that has no source ports left and much room in the table. Each
// loss shows twice.
func ports() *gateway {
	g := newGateway(acting())
	g.s.Max = 262_144
	g.census = censusOf(0, 0.95, false, 0.13, 0.1)
	g.census.Pool = policy.Pool{
		NAT: netip.MustParseAddr("203.0.113.7"), Dst: netip.MustParseAddr("198.51.100.20"), Port: 443, Proto: "tcp",
		Used: 500, Lowest: 20_000, Highest: 20_499,
	}
	g.run(time.Minute, 900, 900)
	g.lossesNow = func(float64, int) policy.Counters { return policy.Counters{Drop: 40, InsertFailed: 40, Found: 5000} }
	g.run(50*time.Second, 1400, 1400)
	g.lossesNow = func(float64, int) policy.Counters { return policy.Counters{} }
	g.run(6*time.Minute, 700, 700)
	return g
}
