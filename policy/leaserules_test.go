package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// losing plays a table that loses connections for a while, and returns what was decided
// about a measure.
func (m *sim) losing(d time.Duration, about Measure) (all []Decision) {
	for end := m.now + d; m.now < end; {
		for _, decision := range m.step(time.Second, max(m.want, 64_000)+500, Counters{}) {
			if decision.Measure == about {
				all = append(all, decision)
			}
		}
	}
	return all
}

func of(all []Decision, v Verb) (some []Decision) {
	for _, d := range all {
		if d.Verb == v {
			some = append(some, d)
		}
	}
	return some
}

// flooded is a table in which some sources make connections.
func flooded(edit func(*Config), sources ...Holder) *sim {
	c := Default()
	c.Mode, c.RaiseMax.Mode, c.ShortenTimeouts.Mode = Act, Off, Off
	if edit != nil {
		edit(&c)
	}
	m := newSim(c)
	m.mix = Census{Read: 20_000, Counted: true, New: 9000}
	copy(m.mix.Sources[:], sources)
	return m
}

func hogging(share, rate float64) Holder {
	return Holder{Prefix: hogsAddress, Share: sampled(share), New: rate, Steady: rate}
}

// Who is limited, and who is not.
func TestWhoIsLimited(t *testing.T) {
	before := func(edit func(*Change)) func(*sim) {
		return func(m *sim) {
			ch := Change{ID: 1, Measure: LimitSource, State: Undone, After: Limited, Terms: Terms{Source: hogsAddress}, Made: m.now, At: m.now}
			edit(&ch)
			m.changes = []Change{ch}
		}
	}
	for name, tc := range map[string]struct {
		hog  Holder
		edit func(*sim)
		want bool
	}{
		"fast":                            {hogging(0.3, 900), nil, true},
		"as fast as it would be left":     {hogging(0.3, 50), nil, false},
		"share perhaps":                   {Holder{hogsAddress, Share{0.101, 0.09, 0.112}, 900, 900}, nil, false},
		"bursts only":                     {Holder{hogsAddress, sampled(0.3), 900, 0}, nil, false},
		"most of it, rate not seen":       {Holder{hogsAddress, sampled(0.6), 0, 0}, func(m *sim) { m.mix.Counted = false }, true},
		"most of it, seen to make little": {Holder{hogsAddress, sampled(0.6), 10, 5}, nil, false},
		"not most of it, rate not seen":   {Holder{hogsAddress, sampled(0.4), 0, 0}, func(m *sim) { m.mix.Counted = false }, false},
		"a part of it is allowed": {hogging(0.3, 900), func(m *sim) {
			m.s.Allowed = []Allowed{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Why: "own address"}}
		}, false},
		"of another length":                {Holder{netip.MustParsePrefix("10.0.0.0/24"), sampled(0.3), 900, 900}, nil, false},
		"memory is short":                  {hogging(0.3, 900), nil, true},
		"somebody ended it lately":         {hogging(0.3, 900), before(func(c *Change) { c.State = Yielded }), false},
		"somebody ended it long ago":       {hogging(0.3, 900), before(func(c *Change) { c.State, c.At = Yielded, c.At-2*time.Hour }), true},
		"somebody ended its bypass lately": {hogging(0.3, 900), before(func(c *Change) { c.Measure, c.State = Bypass, Yielded }), true},
		"did not help in another episode":  {hogging(0.3, 900), before(func(c *Change) { c.Outcome, c.Episode = DidNotHelp, "another" }), true},
	} {
		m := flooded(nil, tc.hog)
		if tc.edit != nil {
			tc.edit(m)
		}
		var all []Decision
		if name == "memory is short" {
			for range 20 {
				all = append(all, m.step(time.Second, 20_000, Counters{Drop: 50})...)
			}
		} else {
			all = m.losing(20*time.Second, LimitSource)
		}
		if got := len(of(all, Do)) > 0; got != tc.want {
			t.Errorf("%s: limited is %v, want %v: %+v", name, got, tc.want, all)
		}
	}
}

// What did not help is not done again in this episode.
func TestUselessLimitIsNotRepeated(t *testing.T) {
	m := flooded(nil, hogging(0.3, 900))
	m.demand = 900
	if all := m.losing(10*time.Second, LimitSource); len(of(all, Do)) != 1 {
		t.Fatalf("%+v", all)
	}
	m.changes[0].State, m.changes[0].At, m.changes[0].Outcome = Undone, m.now, DidNotHelp
	if all := m.losing(time.Minute, LimitSource); len(of(all, Do)) != 0 {
		t.Errorf("done again: %+v", all)
	}
}

// What was let go is limited again on new evidence only.
func TestReleasedIsNotLimitedByAnOldCensus(t *testing.T) {
	m := flooded(func(c *Config) { c.Census.Every = time.Hour }, hogging(0.3, 900))
	m.demand = 900
	m.losing(10*time.Second, LimitSource)
	m.changes[0].State, m.changes[0].At = Undone, m.now
	m.mix.Read = 0 // no other can be taken
	m.st.ranked = 0
	if all := m.losing(time.Minute, LimitSource); len(of(all, Do)) != 0 {
		t.Errorf("limited by what was seen before: %+v", all)
	}
}

// What can't be done, or must not be yet, is advised with the reason.
func TestLimitThatCanNotBeDone(t *testing.T) {
	for want, edit := range map[string]func(*sim){
		"not done: the disk": func(m *sim) { m.s.Unable = "the disk" },
		"not done: who":      func(m *sim) { m.s.Unlisted = "who" },
	} {
		m := flooded(nil, hogging(0.3, 900))
		edit(m)
		all := m.losing(time.Minute, LimitSource)
		if advice := of(all, Advised); len(of(all, Do)) != 0 || len(advice) != 1 || !strings.HasSuffix(advice[0].Reason, want) {
			t.Errorf("%s: %+v", want, all)
		}
	}
}

// A kernel that refuses is left in peace for a while.
func TestRefusedLimitRests(t *testing.T) {
	m := flooded(nil, hogging(0.3, 900))
	m.refuse = true
	if n := len(of(m.losing(50*time.Second, LimitSource), Do)); n != 1 {
		t.Errorf("tried %d times in 50 s", n)
	}
	if n := len(of(m.losing(10*time.Minute, LimitSource), Do)); n < 1 || n > 4 {
		t.Errorf("tried %d times in ten minutes more", n)
	}
}

// Those that are limited count towards the bound.
func TestBoundOfSourcesCountsAll(t *testing.T) {
	m := flooded(func(c *Config) { c.LimitSource.MaxSources = 1 }, hogging(0.3, 900))
	m.demand = 9000
	m.losing(10*time.Second, LimitSource)
	m.mix.Sources[0] = Holder{netip.MustParsePrefix("10.0.0.2/32"), sampled(0.3), 900, 900}
	all := m.losing(30*time.Second, LimitSource)
	if len(of(all, Do)) != 0 || len(of(all, Bounded)) != 1 {
		t.Errorf("%+v", all)
	}
}

// What a source that goes on comes to, and one that does not.
func TestStepsOfEscalation(t *testing.T) {
	for name, tc := range map[string]struct {
		edit          func(*sim)
		prunes, drops int
	}{
		"goes on":                 {func(*sim) {}, 1, 1},
		"delete only":             {func(m *sim) { m.cfg.LimitSource.Escalation = DeleteUnreplied }, 1, 0},
		"neither":                 {func(m *sim) { m.cfg.LimitSource.Escalation = LimitOnly }, 0, 0},
		"holds little":            {func(m *sim) { m.mix.Sources[0].Share = sampled(0.05) }, 0, 0},
		"nothing can be done":     {func(m *sim) { m.s.Unable = "the disk" }, 0, 0},
		"deletion has no end yet": {func(m *sim) { m.changes[0].Walk = Walk{Running: true} }, 0, 0},
		"no census since":         {func(m *sim) { m.mix.Read = 0 }, 0, 0},
	} {
		m := hogged(t)
		m.losing(10*time.Second, LimitSource)
		tc.edit(m)
		all := m.losing(4*time.Minute, LimitSource)
		drops := 0
		for _, d := range of(all, Do) {
			if d.To == Dropped {
				drops++
			}
		}
		if len(of(all, Prune)) != tc.prunes || drops != tc.drops {
			t.Errorf("%s: %d deletions and %d drops, want %d and %d: %+v", name, len(of(all, Prune)), drops, tc.prunes, tc.drops, all)
		}
	}
}

// A drop ends with the policy that allows it; the limit stays.
func TestDropEndsWithTheEscalation(t *testing.T) {
	m := hogged(t)
	m.losing(3*time.Minute, LimitSource)
	if levelOf(stack(&m.s, LimitSource), hogsAddress) != Dropped {
		t.Fatal("not dropped")
	}
	m.cfg.LimitSource.Escalation = DeleteUnreplied
	all := m.losing(2*time.Second, LimitSource)
	if undone := of(all, Undo); len(undone) != 1 || undone[0].From != Dropped {
		t.Errorf("%+v", all)
	}
}
