package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestBoundsHold drives the policy with arbitrary traffic, losses, rival writers,
// refusals and restarts, and asks of every decision what must never be otherwise.
func TestBoundsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(drawConfig(t))
		w := watcher{t: t, m: m, ended: map[Measure]time.Duration{}, yielded: map[Measure]time.Duration{}, grown: map[string]int{}}
		for range rapid.IntRange(1, 12).Draw(t, "phases") {
			w.phase()
		}
	})
}

func drawConfig(t *rapid.T) Config {
	c := Default()
	c.Mode = rapid.SampledFrom([]Mode{Off, Observe, Advise, Act, Act, Act, Act}).Draw(t, "mode")
	c.Watch.Low = rapid.Float64Range(0.2, 0.7).Draw(t, "low")
	c.Watch.High = rapid.Float64Range(c.Watch.Low+0.01, 0.99).Draw(t, "high")
	c.Watch.YieldFor = time.Minute
	c.RaiseMax.Ceiling = rapid.IntRange(1, 1<<20).Draw(t, "ceiling")
	c.RaiseMax.Step = rapid.Float64Range(1.05, 8).Draw(t, "step")
	c.RaiseMax.Cooldown = time.Duration(rapid.IntRange(1, 20_000).Draw(t, "cooldown ms")) * time.Millisecond
	c.RaiseMax.Hold = time.Duration(rapid.IntRange(0, 60).Draw(t, "hold s")) * time.Second
	c.GrowBuckets.Hold, c.GrowBuckets.Shrink = c.RaiseMax.Hold, rapid.Bool().Draw(t, "shrink")
	c.GrowBuckets.Cooldown = c.RaiseMax.Cooldown
	return c
}

type watcher struct {
	t       *rapid.T
	m       *sim
	ended   map[Measure]time.Duration // newest undo
	yielded map[Measure]time.Duration // newest yield
	grown   map[string]int            // growths by episode
	open    string                    // episode between open and close
	named   time.Duration             // newest naming of a cause
	cause   Cause                     // as named then
	pattern Pattern                   // as named last
	counted bool                      // a census has been reported in this episode
	losing  bool                      // losses have been, too
}

// phase is one stretch of steady conditions, begun by what may happen to a gateway.
func (w *watcher) phase() {
	m, t := w.m, w.t
	switch rapid.SampledFrom([]string{"", "", "", "rival", "buckets", "restart", "refuse", "allow", "memory", "census", "census", "no census"}).Draw(t, "event") {
	case "rival":
		m.s.Max = rapid.IntRange(0, 300_000).Draw(t, "max")
	case "buckets":
		m.s.Buckets = rapid.IntRange(1, 300).Draw(t, "buckets") * 512
	case "restart":
		m.restart()
		w.open, w.cause = "", None
	case "refuse":
		m.refuse = true
	case "allow":
		m.refuse = false
	case "census":
		share := func(name string) Share { return sampled(rapid.Float64Range(0, 0.5).Draw(t, name)) }
		m.mix = Census{Read: 20_000, Closing: share("closing"), DeadUDP: share("dead"), Opening: share("opening"), Idle: sampled(rapid.Float64Range(0, 1).Draw(t, "idle"))}
	case "no census":
		m.mix = Census{}
	case "memory":
		m.s.MemAvailable = int64(rapid.IntRange(0, 2048).Draw(t, "MiB")) << 20
	}
	from, to := m.want, rapid.IntRange(0, 400_000).Draw(t, "want")
	rate := drawRates(t)
	n := rapid.IntRange(1, 60).Draw(t, "readings")
	for i := range n {
		before, state, now := m.s, m.st, m.now
		decisions := m.step(Pause(&m.s, &m.cfg), from+(to-from)*(i+1)/n, rate)
		w.pure(state)
		for _, d := range decisions {
			w.holds(d, &before)
		}
		if m.now <= now {
			t.Fatal("time stood still")
		}
	}
}

func drawRates(t *rapid.T) (c Counters) {
	draw := func(name string) uint64 { return uint64(rapid.SampledFrom([]int{0, 0, 0, 3, 500}).Draw(t, name)) }
	c.Drop, c.InsertFailed, c.ChainTooLong, c.EarlyDrop = draw("drop"), draw("insert_failed"), draw("chaintoolong"), draw("early_drop")
	return c
}

// pure asks the same question twice: the first answer must not have changed the second.
func (w *watcher) pure(st State) {
	s := w.m.s
	s.Changes = append([]Change(nil), w.m.changes...)
	st1, d1 := Decide(st, s, w.m.cfg, w.m.now)
	st2, d2 := Decide(st, s, w.m.cfg, w.m.now)
	if st1 != st2 || !cmp.Equal(d1, d2) {
		w.t.Fatal("the same snapshot gave two answers")
	}
}

func (w *watcher) holds(d Decision, before *Snapshot) {
	t, m := w.t, w.m
	if d.Reason == "" {
		t.Fatalf("%s without a reason", d.Verb)
	}
	switch d.Verb {
	case Open:
		if w.open != "" || d.Episode == "" || d.Cause == None {
			t.Fatalf("episode %q opens with cause %q while %q is open", d.Episode, d.Cause, w.open)
		}
		w.open, w.named, w.cause = d.Episode, m.now, d.Cause
		w.pattern, w.counted, w.losing = d.Pattern, m.st.Episode.census, m.st.Episode.losing
	case Diagnose:
		w.named, w.cause = w.diagnosed(d)
	case Close:
		if w.open != "" && d.Episode != w.open { // an episode from before a restart may end, too
			t.Fatalf("episode %q closes while %q is open", d.Episode, w.open)
		}
		w.open = ""
	case Do:
		w.inBounds(d)
	case Undo:
		w.ended[d.Measure] = m.now
		if d.Measure == RaiseMax && float64(m.s.Max) < float64(m.s.Count)*(1+margin) {
			t.Fatalf("max lowered to %d with %d entries", m.s.Max, m.s.Count)
		}
	case Yield:
		w.yielded[d.Measure] = m.now
		if d.From == d.To {
			t.Fatalf("yielded %s though it holds %d", d.Measure, d.From)
		}
	}
}

// diagnosed checks that a diagnosis says something new: another cause after the
// last one had time to show, another pattern, or for the first time in the episode
// what a census found or that connections are lost.
func (w *watcher) diagnosed(d Decision) (named time.Duration, cause Cause) {
	news := d.Pattern != NoPattern && d.Pattern != w.pattern || w.m.st.Episode.census && !w.counted || w.m.st.Episode.losing && !w.losing
	w.pattern, w.counted, w.losing = d.Pattern, w.m.st.Episode.census, w.m.st.Episode.losing
	if d.Cause == w.cause && !news {
		w.t.Fatalf("cause %s and pattern %q named again", d.Cause, d.Pattern)
	}
	if d.Cause == w.cause {
		return w.named, w.cause
	}
	if w.cause != None && w.cause != TableFilling && w.m.now-w.named < w.m.cfg.Watch.Window {
		w.t.Fatalf("cause %s named %s after %s", d.Cause, w.m.now-w.named, w.cause)
	}
	return w.m.st.Episode.named, d.Cause // a resumed episode's was named before
}

func (w *watcher) inBounds(d Decision) {
	t, m, c := w.t, w.m, &w.m.cfg
	if c.Mode != Act {
		t.Fatalf("acted in mode %d", c.Mode)
	}
	if d.To <= d.From {
		t.Fatalf("%s from %d to %d", d.Measure, d.From, d.To)
	}
	if at, ok := w.ended[d.Measure]; ok && m.now-at < c.RaiseMax.Cooldown {
		t.Fatalf("%s undone and redone within %s", d.Measure, m.now-at)
	}
	if at, ok := w.yielded[d.Measure]; ok && m.now-at < c.Watch.YieldFor {
		t.Fatalf("%s %s after yielding", d.Measure, m.now-at)
	}
	if d.Measure == GrowBuckets {
		if !m.refuse {
			w.grown[d.Episode]++
		}
		if w.grown[d.Episode] > 1 || d.To > c.GrowBuckets.Ceiling || d.To%bucketUnit != 0 {
			t.Fatalf("buckets grown to %d, ceiling %d, time %d in the episode", d.To, c.GrowBuckets.Ceiling, w.grown[d.Episode])
		}
		return
	}
	if d.Cause != TableFull && d.Cause != TableFilling {
		t.Fatalf("raised max for cause %q", d.Cause)
	}
	cost := int64(d.To) * int64(c.Memory.EntryBytes)
	could := m.s.MemAvailable + int64(m.s.Count)*int64(c.Memory.EntryBytes)
	if d.To > c.RaiseMax.Ceiling || float64(d.To) > c.RaiseMax.Step*float64(d.From) || float64(cost) > c.Memory.Budget*float64(could) {
		t.Fatalf("raised from %d to %d: ceiling %d, step %g, cost %d of %d bytes", d.From, d.To, c.RaiseMax.Ceiling, c.RaiseMax.Step, cost, could)
	}
}
