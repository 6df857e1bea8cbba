package policy

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The law is pf's, cut into steps: at each mark the timeout is what the line says.
func TestLevels(t *testing.T) {
	m := Default().ShortenTimeouts
	m.Start, m.End = 0.6, 0.8
	for _, tc := range []struct {
		utilization float64
		level, sec  int // of a timeout of 120 s with a floor of 20 s
	}{
		{0, 0, 120}, {0.6, 0, 120}, {0.649, 0, 120}, {0.651, 1, 95}, {0.701, 2, 70}, {0.751, 3, 45}, {0.799, 3, 45}, {0.801, 4, 20}, {1.5, 4, 20},
	} {
		level := m.level(tc.utilization)
		f := FloorConfig{Floor: 20 * time.Second}
		if level != tc.level || f.scaled(120, level) != tc.sec {
			t.Errorf("at %g: level %d and %d s, want %d and %d", tc.utilization, level, f.scaled(120, level), tc.level, tc.sec)
		}
		if line := 120 - 100*min(max(tc.utilization-0.6, 0)/0.2, 1); float64(f.scaled(120, level)) < line-1e-9 {
			t.Errorf("at %g: %d s, less than the line's %g", tc.utilization, f.scaled(120, level), line)
		}
		if level > 0 && m.leaves(tc.utilization, level-1) {
			t.Errorf("at %g the level %d is left at once", tc.utilization, level)
		}
	}
	if f := (FloorConfig{Floor: time.Minute}); f.scaled(30, TopLevel) != 30 {
		t.Errorf("a timeout under its floor became %d", f.scaled(30, TopLevel))
	}
}

// A table that swings about a mark changes its timeouts at most once in a hold.
func TestTimeoutsDoNotFlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(Default())
		m.cfg.Mode, m.cfg.RaiseMax.Ceiling = Act, m.s.Max
		c := &m.cfg.ShortenTimeouts
		c.Hold = time.Duration(rapid.IntRange(20, 200).Draw(t, "hold s")) * time.Second
		level := rapid.IntRange(1, 3).Draw(t, "level")
		m.mix = Census{Read: 20_000}
		m.classes.share[TCPTimeWait] = rapid.Float64Range(0.1, 0.9).Draw(t, "share")
		m.classes.walks = rapid.Bool().Draw(t, "walks")
		swing := rapid.Float64Range(0.001, 0.12).Draw(t, "swing")
		period := rapid.Float64Range(2, 400).Draw(t, "period s")
		up, changed := true, -c.Hold
		for start := m.now; m.now < start+6*c.Hold; {
			at := (m.now - start).Seconds()
			u := c.mark(level) + 0.001 + swing*math.Sin(2*math.Pi*at/period)
			for _, d := range m.step(time.Second, int(u*float64(m.s.Max)), Counters{}) {
				if d.Measure != ShortenTimeouts || d.Verb != Do && d.Verb != Undo || d.From == d.To {
					continue
				}
				if now := d.To > d.From; now != up && m.now-changed < c.Hold && m.s.Utilization() < c.End {
					t.Fatalf("level %d to %d %s after a change the other way, with a hold of %s", d.From, d.To, m.now-changed, c.Hold)
				} else {
					up, changed = now, m.now
				}
			}
		}
	})
}

// Whatever happens, no timeout goes under its floor or without approval, and in the end
// each is what it was, or what somebody else has made it.
func TestTimeoutsInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(drawConfig(t))
		c := &m.cfg.ShortenTimeouts
		c.Hold, c.Cooldown = m.cfg.RaiseMax.Hold, m.cfg.RaiseMax.Cooldown
		c.Start = rapid.Float64Range(0.1, 0.8).Draw(t, "start")
		c.End = rapid.Float64Range(c.Start+0.01, 1).Draw(t, "end")
		for x := range Timeouts {
			c.Floors[x].Mode = rapid.SampledFrom([]Mode{Off, Advise, Act, Act}).Draw(t, "class mode")
			c.Floors[x].Floor = time.Duration(rapid.IntRange(1, 200).Draw(t, "floor s")) * time.Second
		}
		m.mix = Census{Read: 20_000}
		left := 1.0
		for _, x := range []Timeout{TCPTimeWait, UDP, TCPEstablished, TCPSynSent} {
			m.classes.share[x] = rapid.Float64Range(0, left).Draw(t, "share")
			left -= m.classes.share[x]
		}
		rival := [Timeouts]int{}
		for range rapid.IntRange(1, 10).Draw(t, "phases") {
			switch rapid.SampledFrom([]string{"", "", "rival", "restart", "refuse", "allow", "stay", "walk"}).Draw(t, "event") {
			case "rival":
				x := rapid.SampledFrom([]Timeout{TCPTimeWait, UDP}).Draw(t, "of")
				rival[x] = rapid.IntRange(1, 300).Draw(t, "seconds")
				m.s.Timeouts[x] = rival[x]
			case "restart":
				m.restart()
			case "refuse", "allow":
				m.refuse = !m.refuse
			case "stay", "walk":
				m.classes.walks = !m.classes.walks
			}
			want, rate := rapid.IntRange(0, 200_000).Draw(t, "want"), drawRates(t)
			for range rapid.IntRange(1, 60).Draw(t, "readings") {
				before := m.s
				for _, d := range m.step(Pause(&m.s, &m.cfg), want, rate) {
					approved(t, m, d, &before)
				}
			}
		}
		m.refuse = false
		for range 400 {
			m.step(time.Second, 0, Counters{})
		}
		for x := range Timeouts {
			if is := m.s.Timeouts[x]; is != kernelTimeouts[x] && is != rival[x] {
				t.Fatalf("%s is %d in the end, was %d", x, is, kernelTimeouts[x])
			}
		}
	})
}

// approved checks an act against the configuration.
func approved(t *rapid.T, m *sim, d Decision, before *Snapshot) {
	if d.Measure != ShortenTimeouts || d.Verb != Do {
		return
	}
	c := &m.cfg.ShortenTimeouts
	if m.cfg.Mode != Act || len(d.Timeouts) == 0 || d.To > TopLevel || d.To < d.From {
		t.Fatalf("%+v in mode %s", d, m.cfg.Mode)
	}
	if d.Cause == SNATPorts || d.Cause == HashChains {
		t.Fatalf("shortened for %s", d.Cause)
	}
	for _, e := range d.Timeouts {
		x, ok := TimeoutNamed(e.Name)
		if !ok || c.Floors[x].Mode != Act || e.To >= e.From || time.Duration(e.To)*time.Second < c.Floors[x].Floor || before.Timeouts[x] == 0 {
			t.Fatalf("%+v with %+v", e, c.Floors[x])
		}
		if _, ours := normalOf(before, x); !ours && before.Census.Classes[x].Low < c.Share {
			t.Fatalf("%s holds only %g", e.Name, before.Census.Classes[x].Low)
		}
	}
}
