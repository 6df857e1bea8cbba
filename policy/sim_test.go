package policy

import (
	"math"
	"net/netip"
	"time"
)

// sim is a gateway as the policy sees it: a table that refuses what does not fit,
// and a guardian that carries out decisions at once and remembers them. It
// refuses a write whose From is not the value in force, as the executor does.
type sim struct {
	cfg     Config
	st      State
	s       Snapshot
	now     time.Duration
	want    int    // entries the traffic would have
	full    string // what a full table does: "drop" or "early_drop"
	refuse  bool   // the kernel refuses writes
	changes []Change
	acts    int                // writes that took effect
	part    map[string]float64 // of losses that are not yet whole, by counter
	mix     Census             // what a census would find; none can be taken while Read is 0
	asked   time.Duration      // when the newest was taken
	classes classes
	demand  float64 // connections a second that the hog makes
	looked  time.Duration
	uses    bool // flows that bypass tracking are translated
}

func newSim(cfg Config) *sim {
	return &sim{
		cfg: cfg, now: 100 * time.Second, full: "drop", part: map[string]float64{},
		s: Snapshot{
			Max: 65536, Buckets: 65536, MemAvailable: 4 << 30, Wall: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC),
			Timeouts: kernelTimeouts,
		},
		classes: newClasses(),
	}
}

// step moves the clock by d with the traffic wanting want entries and rates of
// other losses per second, and takes one decision.
func (m *sim) step(d time.Duration, want int, rate Counters) []Decision {
	m.now += d
	m.classes.live(m, d)
	want = m.classes.held(want)
	grown := max(want-max(m.want, m.s.Max), 0) + m.classes.refused(want-m.s.Max, d)
	m.want = want
	m.s.Wall = m.s.Wall.Add(d)
	m.s.MemAvailable += int64(384 * m.s.Count)
	m.s.Count = min(want, m.s.Max)
	if m.s.Max == 0 {
		m.s.Count, grown = want, 0
	}
	m.s.MemAvailable -= int64(384 * m.s.Count)
	times := func(name string, n uint64) uint64 {
		whole, part := math.Modf(m.part[name] + float64(n)*d.Seconds())
		m.part[name] = part
		return uint64(whole)
	}
	m.s.Losses = Counters{
		Found: times("found", rate.Found), Drop: times("drop", rate.Drop), InsertFailed: times("insert_failed", rate.InsertFailed),
		EarlyDrop: times("early_drop", rate.EarlyDrop), ChainTooLong: times("chaintoolong", rate.ChainTooLong),
	}
	if m.full == "early_drop" {
		m.s.Losses.EarlyDrop += uint64(grown)
	} else {
		m.s.Losses.Drop += uint64(grown)
	}
	m.s.Changes = append([]Change(nil), m.changes...)
	m.lease()
	var ds []Decision
	m.st, ds = Decide(m.st, m.s, m.cfg, m.now)
	for _, dec := range ds {
		m.carryOut(dec)
	}
	m.inspect()
	if m.mix.Read > 0 && m.st.WantsCensus(&m.cfg, m.asked, m.now) {
		m.asked = m.now
		m.s.Census = m.mix
		m.s.Census.At, m.s.Census.Table = m.now, m.s.Count
		m.classes.show(&m.s.Census)
	}
	return ds
}

// sampled is a share as a sample of 20,000 entries finds it.
func sampled(share float64) Share {
	off := 2.576 * math.Sqrt(share*(1-share)/20_000)
	return Share{share, max(share-off, 0), min(share+off, 1)}
}

func (m *sim) carryOut(d Decision) {
	switch d.Verb {
	case Do:
		c := Change{
			ID: len(m.changes) + 1, Measure: d.Measure, State: Applied, Episode: d.Episode, Cause: d.Cause,
			Before: d.From, After: d.To, At: m.now, Made: m.now, ApprovedBy: d.ApprovedBy, Replaces: d.Replaces,
		}
		if d.Terms != nil {
			c.Terms = *d.Terms
		}
		if !m.write(&c, d) {
			c.State = Failed
		} else {
			m.acts++
		}
		m.changes = append(m.changes, c)
	case Undo:
		if d.Terms != nil {
			m.changes[d.Change-1].State, m.changes[d.Change-1].At = Undone, m.now
			m.acts++
			break
		}
		// The changes above it go first; each is ours, or the policy was wrong to ask.
		for i := len(m.changes) - 1; i >= 0; i-- {
			c := &m.changes[i]
			if c.Measure != d.Measure || c.State != Applied || c.ID < d.Change {
				continue
			}
			m.restore(c)
			c.State, c.At = Undone, m.now
			m.acts++
		}
	case Yield:
		for i := range m.changes {
			if c := &m.changes[i]; c.Measure == d.Measure && c.State == Applied && !c.losesOnly(d.Timeouts) {
				c.State, c.At = Yielded, m.now
			}
		}
	case Prune:
		m.changes[d.Change-1].Walk = Walk{Done: true, Deleted: 1000}
	case Judge:
		m.changes[d.Change-1].Outcome = d.Outcome
	}
}

// write does what the executor does, unless the kernel refuses or holds another value.
func (m *sim) write(c *Change, d Decision) bool {
	if m.refuse {
		return false
	}
	if d.Measure == ShortenTimeouts {
		return m.classes.write(m, c, d.Timeouts)
	}
	if d.Terms != nil {
		return true
	}
	if *m.value(d.Measure) != d.From {
		return false
	}
	*m.value(d.Measure) = d.To
	return true
}

func (m *sim) restore(c *Change) {
	if c.Measure == ShortenTimeouts {
		m.classes.restore(m, c)
		return
	}
	if *m.value(c.Measure) != c.After {
		panic("undo of a value that is not ours")
	}
	*m.value(c.Measure) = c.Before
}

func (m *sim) value(x Measure) *int {
	if x == GrowBuckets {
		return &m.s.Buckets
	}
	return &m.s.Max
}

// restart forgets everything but what is kept on disk.
func (m *sim) restart() {
	m.st = State{Baseline: m.st.Baseline}
	m.s.Census, m.asked = Census{}, 0
}

// hogsAddress is the source that most is made of where one holds much.
var hogsAddress = netip.MustParsePrefix("10.0.0.1/32")

// lease tells what leases refuse: of one source what it makes, of all others nothing.
func (m *sim) lease() {
	m.s.Leases = nil
	open := stack(&m.s, LimitSource)
	for _, ch := range open {
		l := Lease{Change: ch.ID}
		switch {
		case ch.Terms.Source != hogsAddress || ch.After < levelOf(open, ch.Terms.Source):
		case ch.After == Dropped:
			l.Refused = m.demand
		default:
			l.Refused = max(m.demand-float64(ch.Terms.Rate), 0)
		}
		m.s.Leases = append(m.s.Leases, l)
	}
}

// inspect looks for the flows that may bypass tracking.
func (m *sim) inspect() {
	if !m.st.WantsFlows(&m.s, &m.cfg, m.looked, m.now) {
		return
	}
	m.looked, m.s.Flows = m.now, nil
	for _, f := range m.cfg.Bypass {
		sight := FlowSight{Flow: f.Name, Mark: f.Mark(), At: m.now, Seen: 1}
		if m.uses {
			sight.NAT = "10.0.0.5:40000 → 192.0.2.1:53 udp"
		}
		m.s.Flows = append(m.s.Flows, sight)
	}
}
