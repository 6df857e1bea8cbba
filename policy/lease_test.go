package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hogged is a table that one source fills, with that source limited.
func hogged(t *testing.T) *sim {
	t.Helper()
	c := Default()
	c.Mode, c.RaiseMax.Mode, c.ShortenTimeouts.Mode = Act, Off, Off
	c.LimitSource.Escalation = DropAll
	m := newSim(c)
	m.mix = Census{Read: 20_000, Counted: true, New: 9000}
	m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: sampled(0.8), New: 9000, Steady: 9000}
	m.demand = 9000
	for want := 10_000; len(stack(&m.s, LimitSource)) == 0; want = min(want+2000, 60_000) {
		if m.now > time.Hour {
			t.Fatal("the hog is not limited")
		}
		m.step(time.Second, want, Counters{})
	}
	return m
}

// What the policy does not want any more ends at the next reading, whatever the hog does.
func TestLeaseEndsWithThePolicy(t *testing.T) {
	for name, edit := range map[string]func(*sim){
		"global mode":   func(m *sim) { m.cfg.Mode = Advise },
		"own mode":      func(m *sim) { m.cfg.LimitSource.Mode = Observe },
		"rate":          func(m *sim) { m.cfg.LimitSource.Rate++ },
		"burst":         func(m *sim) { m.cfg.LimitSource.Burst++ },
		"lease":         func(m *sim) { m.cfg.Lease++ },
		"prefix length": func(m *sim) { m.cfg.LimitSource.IPv4Bits = 24 },
		"allow":         func(m *sim) { m.cfg.LimitSource.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")} },
		"own address":   func(m *sim) { m.s.Allowed = []Allowed{{hogsAddress, "own address", true}} },
	} {
		m := hogged(t)
		m.step(time.Second, 60_000, Counters{})
		if n := len(stack(&m.s, LimitSource)); n != 1 {
			t.Fatalf("%s: %d leases before", name, n)
		}
		edit(m)
		ds := m.step(time.Second, 60_000, Counters{})
		if !slices.ContainsFunc(ds, func(d Decision) bool { return d.Verb == Undo && d.Measure == LimitSource }) {
			t.Errorf("%s: the lease goes on: %+v", name, ds)
		}
	}
}

// A lease of which the kernel says nothing is neither quiet nor busy: it goes on.
func TestUnknownIsNotQuiet(t *testing.T) {
	var st State
	c := Default()
	c.Mode = Act
	s := Snapshot{Max: 1000, Count: 1}
	terms := termsOf(&c.LimitSource, c.Lease, hogsAddress, Limited)
	s.Changes = []Change{{ID: 1, Measure: LimitSource, State: Applied, After: Limited, Terms: terms, Outcome: Helped}}
	for now := time.Second; now < time.Hour; now += time.Second {
		var ds []Decision
		if st, ds = Decide(st, s, c, now); len(ds) > 0 {
			t.Fatalf("after %s: %+v", now, ds)
		}
	}
	s.Leases = []Lease{{Change: 1}}
	for now := time.Hour; ; now += time.Second {
		var ds []Decision
		st, ds = Decide(st, s, c, now)
		if len(ds) > 0 {
			if hold := now - time.Hour + time.Second; ds[0].Verb != Undo || hold < c.LimitSource.Hold || hold > c.LimitSource.Hold+2*time.Second {
				t.Errorf("after %s: %+v", hold, ds)
			}
			return
		}
		if now > 2*time.Hour {
			t.Fatal("a quiet lease goes on")
		}
	}
}

// Leases that end together must not together bring back what ended with them.
func TestReleaseSharesTheRoom(t *testing.T) {
	var st State
	c := Default()
	c.Mode = Act
	s := Snapshot{Max: 10_000, Count: 3000} // room for 5,000 up to the high mark
	for i := range 4 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
		s.Changes = append(s.Changes, Change{
			ID: i + 1, Measure: LimitSource, State: Applied, After: Limited, Outcome: Helped,
			Terms: termsOf(&c.LimitSource, c.Lease, p, Limited),
		})
		s.Leases = append(s.Leases, Lease{Change: i + 1, Refused: 6}) // 1,800 entries each
	}
	ended := 0
	for now := time.Second; now < 90*time.Second; now += time.Second {
		var ds []Decision
		st, ds = Decide(st, s, c, now)
		for _, d := range ds {
			if d.Verb == Undo {
				ended++
				s.Changes[d.Change-1].State = Undone
				s.Count += 1800
			}
		}
	}
	if ended != 2 { // of four, at 1,800 each
		t.Errorf("%d leases ended, want 2", ended)
	}
}

// However the sources of a table look, what is done about them stays inside the bounds.
func TestLimitsStayInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Default()
		c.Mode, c.RaiseMax.Mode, c.ShortenTimeouts.Mode = Act, Off, Off
		c.LimitSource.MaxSources = rapid.IntRange(1, 12).Draw(t, "max sources")
		c.LimitSource.Share = rapid.Float64Range(0.02, 0.3).Draw(t, "share")
		c.LimitSource.Escalation = rapid.SampledFrom([]Escalation{LimitOnly, DeleteUnreplied, DropAll}).Draw(t, "escalation")
		c.LimitSource.Hold = time.Duration(rapid.IntRange(0, 20).Draw(t, "hold")) * time.Second
		c.LimitSource.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}
		m := newSim(c)
		m.s.Allowed = []Allowed{{netip.MustParsePrefix("10.0.0.4/32"), "name server", false}}
		for range rapid.IntRange(1, 10).Draw(t, "phases") {
			m.mix = drawSources(t)
			m.demand = float64(rapid.IntRange(0, 20_000).Draw(t, "demand"))
			m.refuse = rapid.IntRange(0, 5).Draw(t, "refuse") == 0
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				m.restart()
			}
			want := rapid.IntRange(0, 90_000).Draw(t, "want")
			for range rapid.IntRange(1, 40).Draw(t, "readings") {
				before := stack(&m.s, LimitSource)
				for _, d := range m.step(Pause(&m.s, &m.cfg), want, Counters{}) {
					checkLimit(t, &c, before, d)
				}
				if n := len(sourcesOf(stack(&m.s, LimitSource))); n > c.LimitSource.MaxSources {
					t.Fatalf("%d sources limited, at most %d may be", n, c.LimitSource.MaxSources)
				}
			}
		}
	})
}

func checkLimit(t *rapid.T, c *Config, before []Change, d Decision) {
	if d.Measure != LimitSource || d.Verb != Do {
		return
	}
	source := d.Terms.Source
	level := levelOf(before, source)
	switch {
	case d.To == Limited && level != 0, d.To == Dropped && level != Limited:
		t.Fatalf("%s brought from level %d to %d", source, level, d.To)
	case d.To == Dropped && c.LimitSource.Escalation < DropAll:
		t.Fatalf("%s dropped, which is not approved", source)
	case allowed(&Snapshot{Allowed: []Allowed{{netip.MustParsePrefix("10.0.0.4/32"), "x", false}}}, c, source, d.To) != "":
		t.Fatalf("%s is limited, which is allowed", source)
	}
}

// drawSources is a census of some sources that hold what is left by those before.
func drawSources(t *rapid.T) Census {
	k := Census{Read: 20_000}
	left := 1.0
	for i := range rapid.IntRange(0, 14).Draw(t, "sources") {
		share := left * rapid.Float64Range(0, 0.6).Draw(t, "holds")
		left -= share
		k.Sources[i] = Holder{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 32), Share: sampled(share),
			Steady: float64(rapid.SampledFrom([]int{0, 10, 51, 20_000}).Draw(t, "steady")),
		}
	}
	return k
}

// A gateway that is ordinarily above the low mark gets its restrictions back, too, once
// the episode is over.
func TestRestrictionsEndAboveTheLowMark(t *testing.T) {
	m := hogged(t)
	m.cfg.Bypass = []Flow{{Name: "dns", Mode: Act, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Proto: 17, Hold: time.Minute}}
	for range 30 {
		m.step(time.Second, 60_000, Counters{})
	}
	if len(stack(&m.s, Bypass)) != 1 || len(stack(&m.s, LimitSource)) != 1 {
		t.Fatalf("in force: %+v", m.changes)
	}
	m.demand = 60 // ten a second more than it would be left
	for range 45 * 60 {
		m.step(time.Second, 46_000, Counters{}) // 70 %
	}
	m.s.Changes = m.changes
	if len(stack(&m.s, Bypass)) != 0 || len(stack(&m.s, LimitSource)) != 0 {
		t.Errorf("in force after 45 minutes at 70 %%, episode %q: %+v", m.st.Episode.Name, m.changes)
	}
}

// Whoever has become quiet is left alone, whatever it holds.
func TestEscalationSparesTheQuiet(t *testing.T) {
	m := hogged(t)
	m.demand = 0
	m.cfg.LimitSource.Hold = time.Hour
	for range 10 * 60 {
		for _, d := range m.step(time.Second, 63_000, Counters{}) {
			if d.Verb == Prune || d.To == Dropped {
				t.Fatalf("%s: %s", d.Verb, d.Reason)
			}
		}
	}
}

// What is short of memory, or of ports, has no use for room in the table: a limit that
// goes on refusing goes on.
func TestRoomIsNoReleaseFromOtherTrouble(t *testing.T) {
	m := hogged(t)
	m.demand, m.cfg.LimitSource.Escalation = 200, LimitOnly
	for range 10 * 60 {
		m.s.Max = 1 << 20
		m.step(time.Second, 60_000, Counters{Drop: 100})
	}
	if m.st.Now.Cause != MemoryShort {
		t.Fatalf("the cause is %s", m.st.Now.Cause)
	}
	if n := len(stack(&m.s, LimitSource)); n != 1 {
		t.Errorf("%d leases in force", n)
	}
}

// Half of the table in old connections makes nobody an offender who is seen to make few.
func TestHolderOfOldConnectionsIsNoOffender(t *testing.T) {
	c := Default()
	c.Mode, c.RaiseMax.Mode, c.ShortenTimeouts.Mode = Act, Off, Off
	m := newSim(c)
	m.mix = Census{Read: 20_000, Counted: true, New: 5000}
	m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: sampled(0.55), New: 10, Steady: 8}
	for range 60 {
		for _, d := range m.step(time.Second, 80_000+int(m.now.Seconds())*10, Counters{}) {
			if d.Measure == LimitSource && d.Verb == Do {
				t.Fatal(d.Reason)
			}
		}
	}
}

// What a lease refuses is waited for before it is judged.
func TestUnknownIsNotJudged(t *testing.T) {
	var st State
	c := Default()
	c.Mode = Act
	s := Snapshot{Max: 1000, Count: 1000, Losses: Counters{Drop: 5}}
	terms := termsOf(&c.LimitSource, c.Lease, hogsAddress, Limited)
	s.Changes = []Change{{ID: 1, Measure: LimitSource, State: Applied, After: Limited, Terms: terms}}
	judged := func(span time.Duration, now *time.Duration) (n int) {
		for end := *now + span; *now < end; *now += time.Second {
			var ds []Decision
			st, ds = Decide(st, s, c, *now)
			for _, d := range ds {
				if d.Verb == Judge {
					n++
					s.Changes[0].Outcome = d.Outcome
				}
			}
		}
		return n
	}
	now := time.Second
	if n := judged(time.Minute, &now); n != 0 {
		t.Errorf("judged %d times without knowing", n)
	}
	s.Leases = []Lease{{Change: 1, Refused: 100}}
	if n := judged(7*time.Second, &now); n != 1 {
		t.Errorf("judged %d times with what it refuses known", n)
	}
}

// lulled is a table with a source that is seen making connections at one census, while
// nothing presses.
func lulled(t *testing.T) *sim {
	t.Helper()
	c := Default()
	c.Mode, c.RaiseMax.Mode, c.ShortenTimeouts.Mode = Act, Off, Off
	m := newSim(c)
	m.mix = Census{Read: 20_000, Counted: true, New: 2000}
	m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: sampled(0.2), New: 400, Steady: 400}
	return m
}

// Where nothing presses a second of many connections is no evidence, two censuses in a
// row are.
func TestABurstIsNoEvidence(t *testing.T) {
	m := lulled(t)
	for range 5 * 60 {
		if m.asked != 0 && m.s.Census.At == m.now { // the first has been taken: the burst is over
			m.mix.Sources[0].Steady = 0
		}
		for _, d := range m.step(time.Second, 56_000, Counters{}) {
			if d.Measure == LimitSource && d.Verb == Do {
				t.Fatalf("after one census: %s", d.Reason)
			}
		}
	}
	m = lulled(t)
	for range 5 * 60 {
		m.step(time.Second, 56_000, Counters{})
	}
	if n := len(stack(&m.s, LimitSource)); n != 1 {
		t.Errorf("%d sources limited after many censuses", n)
	}
}

// A source that is limited again and again is held for longer each time, up to a bound.
func TestHoldGrows(t *testing.T) {
	c := Default()
	var s Snapshot
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 16, 16} {
		ch := Change{ID: i + 1, Measure: LimitSource, After: Limited, State: Undone, Made: time.Duration(i) * 10 * time.Minute, Terms: Terms{Source: hogsAddress}}
		if got := holdOf(&s, &c, ch); got != want*time.Minute {
			t.Errorf("hold of the change number %d is %s, want %d min", i+1, got, want)
		}
		s.Changes = append(s.Changes, ch)
	}
	late := Change{ID: 9, Measure: LimitSource, After: Limited, Made: 10 * time.Hour, Terms: Terms{Source: hogsAddress}}
	other := Change{ID: 9, Measure: LimitSource, After: Limited, Made: time.Hour, Terms: Terms{Source: netip.MustParsePrefix("10.0.0.2/32")}}
	for _, ch := range []Change{late, other} {
		if got := holdOf(&s, &c, ch); got != time.Minute {
			t.Errorf("hold of %s made at %s is %s", ch.Terms.Source, ch.Made, got)
		}
	}
}

// Fewer sources than are limited may be from now on, or the table has no limit.
func TestLeasesEndWithTheirBounds(t *testing.T) {
	ended := func(edit func(*Snapshot, *Config)) (ids []int) {
		var st State
		c := Default()
		c.Mode = Act
		s := Snapshot{Max: 10_000, Count: 1000}
		for i := range 4 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
			s.Changes = append(s.Changes, Change{
				ID: i + 1, Measure: LimitSource, State: Applied, After: Limited, Outcome: Helped, Terms: termsOf(&c.LimitSource, c.Lease, p, Limited),
			})
			s.Leases = append(s.Leases, Lease{Change: i + 1, Refused: 15_000})
		}
		edit(&s, &c)
		_, ds := Decide(st, s, c, time.Second)
		for _, d := range ds {
			if d.Verb == Undo {
				ids = append(ids, d.Change)
			}
		}
		return ids
	}
	if got := ended(func(_ *Snapshot, c *Config) { c.LimitSource.MaxSources = 3 }); !slices.Equal(got, []int{4}) {
		t.Errorf("of 4 where 3 may be: ended %v", got)
	}
	if got := ended(func(s *Snapshot, _ *Config) { s.Max = 0 }); len(got) != 4 {
		t.Errorf("of 4 without a limit: ended %v", got)
	}
	if got := ended(func(*Snapshot, *Config) {}); got != nil {
		t.Errorf("of 4 that go on: ended %v", got)
	}
}

// A network that the gateway has an address in may be limited, and never dropped.
func TestOwnAddressInANetwork(t *testing.T) {
	c := Default()
	own := netip.MustParsePrefix("fd00::1/128")
	s := Snapshot{Allowed: []Allowed{{own, "own address", true}}}
	network, other := netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("fd00:1::/64")
	for _, x := range []struct {
		source prefix
		level  int
		may    bool
	}{{network, Limited, true}, {network, Dropped, false}, {own, Limited, false}, {own, Dropped, false}, {other, Dropped, true}} {
		if got := allowed(&s, &c, x.source, x.level); (got == "") != x.may {
			t.Errorf("%s to level %d: %q", x.source, x.level, got)
		}
	}
}
