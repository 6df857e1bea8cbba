package policy

import (
	"net/netip"
	"testing"
	"time"
)

func aFlow(name string) Flow {
	return Flow{
		Name: name, Mode: Act, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, To: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Proto: 17, Ports: []Ports{{53, 53}}, Hold: time.Minute,
	}
}

func aLifeline(name string) Flow {
	f := aFlow(name)
	f.To, f.Proto, f.Ports, f.Lifeline = nil, 6, []Ports{{22, 22}}, true
	return f
}

// bypassing is a table of so many entries, of 65,536, with these flows.
func bypassing(count int, flows ...Flow) *sim {
	c := Default()
	c.Mode, c.RaiseMax.Mode, c.ShortenTimeouts.Mode, c.LimitSource.Mode, c.Bypass = Act, Off, Off, Off, flows
	m := newSim(c)
	m.live(5*time.Second, count)
	return m
}

// live plays a steady table and returns what was decided about bypasses.
func (m *sim) live(d time.Duration, count int) (all []Decision) {
	for end := m.now + d; m.now < end; {
		for _, decision := range m.step(time.Second, count, Counters{}) {
			if decision.Measure == Bypass {
				all = append(all, decision)
			}
		}
	}
	return all
}

func (m *sim) exempt(t *testing.T, want int) {
	t.Helper()
	if n := len(stack(&m.s, Bypass)); n != want {
		t.Errorf("%d flows bypass, want %d", n, want)
	}
}

// A flow bypasses while the table is in trouble, a lifeline while it is full.
func TestWhenFlowsBypass(t *testing.T) {
	for _, tc := range []struct {
		count         int
		flow, rescued int
	}{{40_000, 0, 0}, {58_000, 1, 0}, {64_000, 1, 1}} {
		bypassing(tc.count, aFlow("dns")).exempt(t, tc.flow)
		bypassing(tc.count, aLifeline("ssh")).exempt(t, tc.rescued)
		bypassing(tc.count, aFlow("dns"), aLifeline("ssh")).exempt(t, tc.flow+tc.rescued)
	}
	m := bypassing(20_000, aFlow("dns"), aLifeline("ssh"))
	for range 5 {
		m.step(time.Second, 20_000, Counters{Drop: 50}) // no memory
	}
	m.step(time.Second, 20_000, Counters{})
	m.exempt(t, 1)
}

// It ends when the trouble has been over for its hold, and a lifeline not before there
// is room again.
func TestWhenFlowsAreTrackedAgain(t *testing.T) {
	m := bypassing(64_000, aFlow("dns"), aLifeline("ssh"))
	m.live(5*time.Minute, 60_000) // 92 %: filling, and not well under full
	m.exempt(t, 2)
	m.live(5*time.Minute, 58_000) // 89 %
	m.exempt(t, 1)
	m.live(50*time.Second, 20_000)
	m.exempt(t, 1)
	m.live(20*time.Second, 20_000)
	m.exempt(t, 0)
}

// Trouble that is not of room keeps it as it keeps one that begins.
func TestShortMemoryKeepsFlowsUntracked(t *testing.T) {
	m := bypassing(64_000, aFlow("dns"))
	for range 300 {
		m.step(time.Second, 20_000, Counters{Drop: 50})
	}
	m.exempt(t, 1)
}

// What the policy does not want any more ends at the next reading.
func TestBypassEndsWithThePolicy(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"global mode": func(c *Config) { c.Mode = Advise },
		"own mode":    func(c *Config) { c.Bypass[0].Mode = Observe },
		"gone":        func(c *Config) { c.Bypass = nil },
		"renamed":     func(c *Config) { c.Bypass[0].Name = "other" },
		"ports":       func(c *Config) { c.Bypass[0].Ports = []Ports{{53, 54}} },
		"lease":       func(c *Config) { c.Lease += time.Second },
	} {
		m := bypassing(58_000, aFlow("dns"))
		m.exempt(t, 1)
		edit(&m.cfg)
		all := m.live(time.Second, 58_000)
		if len(of(all, Undo)) != 1 || m.changes[0].State != Undone {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// A flow is not exempt by what was seen of it under other terms, or long ago; one that
// was translated is taken to be so for longer.
func TestWhatIsKnownOfFlows(t *testing.T) {
	f := aFlow("dns")
	for name, tc := range map[string]struct {
		sight FlowSight
		known bool
	}{
		"now":                   {FlowSight{Flow: "dns", Mark: f.Mark()}, true},
		"a minute ago":          {FlowSight{Flow: "dns", Mark: f.Mark(), At: -time.Minute}, true},
		"longer ago":            {FlowSight{Flow: "dns", Mark: f.Mark(), At: -61 * time.Second}, false},
		"translated then":       {FlowSight{Flow: "dns", Mark: f.Mark(), At: -10 * time.Minute, NAT: "x"}, true},
		"translated long ago":   {FlowSight{Flow: "dns", Mark: f.Mark(), At: -601 * time.Second, NAT: "x"}, false},
		"of other terms":        {FlowSight{Flow: "dns", Mark: "00000000"}, false},
		"of another of its end": {FlowSight{Flow: "dns2", Mark: f.Mark()}, false},
	} {
		const now = time.Hour
		tc.sight.At += now
		s := Snapshot{Flows: []FlowSight{tc.sight}}
		if _, known := s.sight(&f, now); known != tc.known {
			t.Errorf("%s: known is %v", name, known)
		}
	}
}

// The table is looked through every few seconds at most, however little is known.
func TestFlowsAreNotSoughtAllTheTime(t *testing.T) {
	m := bypassing(58_000, aFlow("dns"))
	m.changes, m.s.Changes, m.s.Flows = nil, nil, nil
	for ago, want := range map[time.Duration]bool{4 * time.Second: false, 5 * time.Second: true} {
		if got := m.st.WantsFlows(&m.s, &m.cfg, m.now-ago, m.now); got != want {
			t.Errorf("sought %s ago: wanted again is %v", ago, got)
		}
	}
}

// A flow that the kernel refused, or somebody ended, rests, and no other does.
func TestFlowsRestByThemselves(t *testing.T) {
	for state, rest := range map[ChangeState]time.Duration{Failed: 50 * time.Second, Yielded: 50 * time.Minute} {
		m := bypassing(20_000, aFlow("dns"), aFlow("ntp"))
		m.changes = []Change{{ID: 1, Measure: Bypass, State: state, After: 1, Terms: Terms{Flow: "dns"}, Made: m.now, At: m.now}}
		for _, d := range of(m.live(rest, 58_000), Do) {
			if d.Terms.Flow == "dns" {
				t.Errorf("%s: tried again", state)
			}
		}
		m.exempt(t, 1)
		m.live(15*time.Minute, 58_000)
		m.exempt(t, 2)
	}
}
