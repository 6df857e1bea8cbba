package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// pressed has a table fill from 1,000 entries until it is beyond the high mark.
func pressed(t *testing.T, cfg Config) *sim {
	t.Helper()
	m := newSim(cfg)
	m.until(t, 20*time.Second, 1000, nil)
	m.until(t, 30*time.Second, 60_000, func([]Decision) bool { return m.st.Now.Pressed })
	return m
}

// until steps with the traffic going to want, for a while or until something has come
// true of the decisions, which it must if it is asked for. It returns all decisions.
func (m *sim) until(t *testing.T, span time.Duration, want int, true func([]Decision) bool) (all []Decision) {
	t.Helper()
	for end := m.now + span; m.now < end; {
		ds := m.step(500*time.Millisecond, want, Counters{})
		all = append(all, ds...)
		if true != nil && true(ds) {
			return all
		}
	}
	if true != nil {
		t.Fatalf("not within %s", span)
	}
	return all
}

func which(ds []Decision, v Verb, m Measure) (found []Decision) {
	for _, d := range ds {
		if d.Verb == v && d.Measure == m {
			found = append(found, d)
		}
	}
	return found
}

func advising() Config {
	c := Default()
	c.Mode = Advise
	c.ShortenTimeouts.Mode, c.GrowBuckets.Mode, c.LimitSource.Mode = Off, Off, Off
	return c
}

// The same trouble gives the same advice, said once; what an operator approves is done,
// and what it leads to has another name.
func TestApprove(t *testing.T) {
	m := pressed(t, advising())
	ds := m.until(t, time.Minute, 60_000, nil)
	a := m.st.Advice[0]
	if n := len(which(ds, Advised, RaiseMax)); n > 1 || a.ID == "" || !m.st.Due(&a) {
		t.Fatalf("advised %d times, %+v", n, a)
	}
	if !strings.HasPrefix(a.ID, "raise-max-") || a.From != 65536 || a.To <= 65536 || a.Wanted != m.now {
		t.Errorf("advice %+v", a)
	}
	m.s.Approved = []Approval{{ID: a.ID, By: "alice", At: m.now}}
	ds = m.step(500*time.Millisecond, 60_000, Counters{})
	done := which(ds, Do, RaiseMax)
	if len(done) != 1 || done[0].ID != a.ID || done[0].ApprovedBy != "alice" {
		t.Fatalf("decided %+v", ds)
	}
	if why, final := m.st.Refusal(&m.s, m.s.Approved[0]); !final || why != "it has been done" {
		t.Errorf("approved again: %q", why)
	}
	// More of the same trouble is another matter.
	m.until(t, time.Minute, 120_000, func(ds []Decision) bool { return len(which(ds, Advised, RaiseMax)) == 1 })
	for _, b := range m.st.Advice {
		if b.ID != "" && b.ID != a.ID && b.From == m.s.Max && m.st.Due(&b) {
			return
		}
	}
	t.Errorf("no further advice: %+v", m.st.Advice[:3])
}

// Of an approval that comes too late it is said why nothing is done.
func TestApproveStale(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(m *sim, ap *Approval)
		want string
	}{
		"the trouble has passed": {func(m *sim, _ *Approval) { m.until(t, 30*time.Second, 1000, nil) }, "it is not wanted now: 1,000 of 65,536 entries (2 %)"},
		"the episode is over":    {func(m *sim, _ *Approval) { m.until(t, 10*time.Minute, 1000, nil) }, "the trouble that it was for is over"},
		"observe":                {func(m *sim, _ *Approval) { m.cfg.RaiseMax.Mode = Observe }, "raise-max is in mode observe: approval is for what is advised"},
		"off":                    {func(m *sim, _ *Approval) { m.cfg.RaiseMax.Mode = Off }, "it is not wanted now: 60,000 of 65,536 entries (92 %)"},
		"paused":                 {func(m *sim, _ *Approval) { m.s.Paused = "paused by bob until ten" }, "paused by bob until ten"},
		"no ledger":              {func(m *sim, _ *Approval) { m.s.Unable = "the disk is full" }, "the disk is full"},
		"made up":                {func(_ *sim, ap *Approval) { ap.ID = "raise-max-00000" }, "there is no such advice"},
	} {
		m := pressed(t, advising())
		m.until(t, time.Minute, 60_000, nil)
		ap := Approval{ID: m.st.Advice[0].ID, By: "alice", At: m.now}
		tc.set(m, &ap)
		m.s.Approved = []Approval{ap}
		ds := m.step(500*time.Millisecond, m.want, Counters{})
		why, final := m.st.Refusal(&m.s, ap)
		if len(which(ds, Do, RaiseMax)) != 0 || !final || !strings.HasPrefix(why, tc.want) {
			t.Errorf("%s: %q (final %v), want %q; decided %v", name, why, final, tc.want, ds)
		}
	}
}

// accused has a table fill by the doing of one source, until it is advised to limit it.
func accused(t *testing.T) (*sim, Approval) {
	t.Helper()
	c := Default()
	c.Mode = Advise
	c.RaiseMax.Mode, c.ShortenTimeouts.Mode = Off, Off
	m := newSim(c)
	m.until(t, 20*time.Second, 1000, nil)
	m.mix = Census{Read: 20_000, Counted: true, New: 5000}
	m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: sampled(0.8), New: 4000, Steady: 4000}
	m.demand = 4000
	m.until(t, time.Minute, 60_000, func(ds []Decision) bool { return len(which(ds, Advised, LimitSource)) == 1 })
	for _, a := range m.st.Advice {
		if a.Measure == LimitSource {
			return m, Approval{ID: a.ID, By: "alice", At: m.now}
		}
	}
	t.Fatalf("no advice is kept: %+v", m.st.Advice[:3])
	return nil, Approval{}
}

// A limit is approved on a census that was begun after the approval, which is wanted at
// once. It stays in mode advise, and is over with it.
func TestApproveLimit(t *testing.T) {
	m, ap := accused(t)
	more := m.until(t, 2*time.Minute, 60_000, nil)
	if n := len(which(more, Advised, LimitSource)) + len(which(more, Rank, LimitSource)); n != 0 {
		t.Errorf("said again %d times", n)
	}
	last := m.asked
	ap.At = m.now
	m.s.Approved = []Approval{ap}
	ds := m.until(t, 2*time.Second, 60_000, func(ds []Decision) bool {
		if why, final := m.st.Refusal(&m.s, ap); final && why != "it has been done" {
			t.Fatalf("refused: %s", why)
		}
		return len(which(ds, Do, LimitSource)) == 1
	})
	if d := which(ds, Do, LimitSource)[0]; d.Terms.Source != hogsAddress || d.ApprovedBy != "alice" || m.asked == last {
		t.Errorf("%+v; a fresh census: %v", d, m.asked != last)
	}
	m.s.Approved = nil
	if ds := m.until(t, 20*time.Second, 60_000, nil); len(which(ds, Undo, LimitSource)) != 0 {
		t.Errorf("taken back in mode advise: %v", ds)
	}
	m.cfg.Mode = Observe
	if ds := m.step(500*time.Millisecond, 60_000, Counters{}); len(which(ds, Undo, LimitSource)) != 1 {
		t.Errorf("stays in mode observe: %v", ds)
	}
}

// Who no longer stands out at the fresh census is not limited.
func TestApproveLimitOfTheInnocent(t *testing.T) {
	m, ap := accused(t)
	m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: sampled(0.01), New: 1}
	m.s.Approved = []Approval{ap}
	if ds := m.until(t, 3*time.Second, 60_000, nil); len(which(ds, Do, LimitSource)) > 0 {
		t.Fatalf("limited: %v", ds)
	}
	if why, final := m.st.Refusal(&m.s, ap); !final || !strings.Contains(why, "newest census no longer speaks for it") {
		t.Errorf("%q, final %v", why, final)
	}
}

// Beyond the acts of an hour there is only advice, which says so; an hour later it acts
// again. What an operator approves is beyond it.
func TestActsOfAnHour(t *testing.T) {
	for _, all := range []bool{false, true} {
		c := Default()
		c.Mode = Act
		c.ShortenTimeouts.Mode, c.GrowBuckets.Mode, c.LimitSource.Mode = Off, Off, Off
		c.RaiseMax.Step, c.RaiseMax.Hold = 1.05, 10*time.Second
		c.ActsPerHour.RaiseMax = 3
		text := "acts of raise-max in the last hour: 3, as many as the policy allows"
		if all {
			c.ActsPerHour.RaiseMax, c.ActsPerHour.All = 10, 3
			text = "acts in the last hour: 3, as many as the policy allows"
		}
		m := newSim(c)
		m.until(t, 20*time.Second, 1000, nil)
		ds := m.until(t, time.Minute, 70_000, nil)
		advised := which(ds, Advised, RaiseMax)
		if n := len(which(ds, Do, RaiseMax)); n != 3 || len(advised) != 1 || !strings.HasSuffix(advised[0].Reason, "; not done: "+text) {
			t.Fatalf("%d done, advised %v", n, advised)
		}
		if got := m.st.Acts(""); got.Used != 3 {
			t.Errorf("tally %+v", got)
		}
		m.s.Approved = []Approval{{ID: advised[0].ID, By: "alice", At: m.now}}
		if ds := m.step(500*time.Millisecond, 75_000, Counters{}); len(which(ds, Do, RaiseMax)) != 1 {
			t.Errorf("approved, and decided %v", ds)
		}
		m.s.Approved = nil
		if ds := m.until(t, 30*time.Minute, 75_000, nil); len(which(ds, Do, RaiseMax)) != 0 {
			t.Errorf("within the hour: %v", which(ds, Do, RaiseMax))
		}
		if ds := m.until(t, 31*time.Minute, 75_000, nil); len(which(ds, Do, RaiseMax)) == 0 {
			t.Error("nothing done after the hour")
		}
	}
}

// To drop all that comes from a source is an act like others.
func TestDropIsAnAct(t *testing.T) {
	c := Default()
	c.Mode = Act
	c.RaiseMax.Mode, c.ShortenTimeouts.Mode, c.GrowBuckets.Mode = Off, Off, Off
	c.LimitSource.Escalation, c.LimitSource.EscalateAfter = DropAll, 1
	c.ActsPerHour.LimitSource = 1
	m := newSim(c)
	m.until(t, 20*time.Second, 1000, nil)
	m.mix = Census{Read: 20_000, Counted: true, New: 5000}
	m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: sampled(0.8), New: 4000, Steady: 4000}
	m.demand = 4000
	ds := m.until(t, 5*time.Minute, 70_000, nil)
	advised := which(ds, Advised, LimitSource)
	if n := len(which(ds, Do, LimitSource)); n != 1 || len(advised) != 1 || advised[0].To != Dropped {
		t.Fatalf("%d done, advised %+v", n, advised)
	}
	m.s.Approved = []Approval{{ID: advised[0].ID, By: "alice", At: m.now}}
	done := which(m.until(t, 20*time.Second, 70_000, nil), Do, LimitSource)
	if len(done) != 1 || done[0].To != Dropped || done[0].ApprovedBy != "alice" {
		t.Errorf("approved, and done %+v", done)
	}
}

// While paused nothing is changed in either direction.
func TestPaused(t *testing.T) {
	c := Default()
	c.Mode, c.RaiseMax.Hold = Act, 10*time.Second
	m := pressed(t, c)
	if m.s.Max == 65536 {
		t.Fatal("nothing was raised")
	}
	m.s.Paused = "paused by root"
	acts := m.acts
	m.until(t, time.Minute, 120_000, nil)
	m.until(t, 10*time.Minute, 1000, nil)
	if m.acts != acts {
		t.Errorf("%d acts while paused", m.acts-acts)
	}
	m.s.Paused = ""
	m.until(t, time.Minute, 1000, nil)
	if m.s.Max != 65536 {
		t.Errorf("max stays at %d after the pause", m.s.Max)
	}
}

// A ceiling that is lowered takes back what is beyond it, as soon as the table has no need
// of it.
func TestCeilingLowered(t *testing.T) {
	c := Default()
	c.Mode = Act
	m := newSim(c)
	m.until(t, 20*time.Second, 1000, nil)
	m.until(t, 30*time.Second, 120_000, nil)
	if m.s.Max != 262144 {
		t.Fatalf("max %d", m.s.Max)
	}
	m.cfg.RaiseMax.Ceiling = 131072
	ds := m.until(t, 5*time.Second, 120_000, nil)
	if len(which(ds, Undo, RaiseMax)) != 0 {
		t.Errorf("lowered under a table that needs it: %v", ds)
	}
	ds = m.until(t, 5*time.Second, 65_000, nil)
	if m.s.Max != 131072 || len(which(ds, Do, RaiseMax)) != 0 {
		t.Errorf("max %d, %v", m.s.Max, ds)
	}
}

// Floors that are longer now, and modes that no longer act, give timeouts back at once.
func TestFloorsTightened(t *testing.T) {
	for name, tighten := range map[string]func(c *Config){
		"floor":   func(c *Config) { c.ShortenTimeouts.Floors[TCPTimeWait].Floor = time.Minute },
		"class":   func(c *Config) { c.ShortenTimeouts.Floors[TCPTimeWait].Mode = Advise },
		"measure": func(c *Config) { c.ShortenTimeouts.Mode = Advise },
		"all":     func(c *Config) { c.Mode = Observe },
	} {
		p := newPressing()
		p.made(TCPTimeWait, 10, 4)
		p.s.Timeouts[TCPTimeWait] = 10
		if got := p.decide(p.s.Max); strings.HasPrefix(got, "undo") {
			t.Fatalf("%s: before: %s", name, got)
		}
		tighten(&p.c)
		if got := p.decide(p.s.Max); !strings.HasPrefix(got, "undo 4->0 tcp_timeout_time_wait 10->120") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A limit of other terms is made again with those of the policy.
func TestTermsChanged(t *testing.T) {
	c := Default()
	c.Mode = Act
	terms := termsOf(&c.LimitSource, c.Lease, hogsAddress, Limited)
	s := Snapshot{Max: 65536, Count: 30_000, Buckets: 65536, Changes: []Change{{ID: 7, Measure: LimitSource, State: Applied, After: Limited, Terms: terms, ApprovedBy: "alice"}}}
	c.Lease, c.LimitSource.Rate = 5*time.Second, 20
	_, ds := Decide(State{}, s, c, time.Minute)
	undo, do := which(ds, Undo, LimitSource), which(ds, Do, LimitSource)
	if len(undo) != 1 || undo[0].Change != 7 || len(do) != 1 {
		t.Fatalf("%+v", ds)
	}
	if got := *do[0].Terms; got.Source != hogsAddress || got.Lease != 5*time.Second || got.Rate != 20 || do[0].ApprovedBy != "alice" || do[0].To != Limited {
		t.Errorf("made again with %+v", do[0])
	}
}

// What an operator has rolled back is not done again for a while.
func TestRolledBack(t *testing.T) {
	c := Default()
	c.Mode, c.Watch.YieldFor = Act, 10*time.Minute
	m := pressed(t, c)
	m.until(t, 10*time.Second, 60_000, nil)
	for i := range m.changes {
		ch := &m.changes[i]
		if ch.Measure == RaiseMax && ch.State == Applied {
			ch.State, ch.At, ch.RolledBack = Undone, m.now, true
			m.s.Max = min(m.s.Max, ch.Before)
		}
	}
	if ds := m.until(t, 9*time.Minute, 60_000, nil); len(which(ds, Do, RaiseMax)) != 0 {
		t.Errorf("done again: %v", which(ds, Do, RaiseMax))
	}
	m.until(t, 2*time.Minute, 60_000, func(ds []Decision) bool { return len(which(ds, Do, RaiseMax)) > 0 })
}

// Advice beyond what is kept takes the place of what has not been wanted for longest.
func TestAdviceIsBounded(t *testing.T) {
	var st State
	for i := range 3 * maxAdvice {
		st.advice(&Decision{ID: fmt.Sprint("x-", i)}, Advised, time.Duration(i+1))
	}
	kept := map[string]bool{}
	for _, a := range st.Advice {
		kept[a.ID] = true
	}
	for i := 2 * maxAdvice; i < 3*maxAdvice; i++ {
		if !kept[fmt.Sprint("x-", i)] {
			t.Errorf("x-%d is gone", i)
		}
	}
}
