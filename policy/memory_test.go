package policy

import (
	"testing"
	"time"
)

// told plays traffic that wants as many entries as want says and counts what is decided.
func (m *sim) told(span time.Duration, rate Counters, want func(at time.Duration) int) map[Verb]int {
	n := map[Verb]int{}
	for start := m.now; m.now < start+span; {
		for _, d := range m.step(Pause(&m.s, &m.cfg), want(m.now-start), rate) {
			n[d.Verb]++
		}
	}
	return n
}

func steady(n int) func(time.Duration) int { return func(time.Duration) int { return n } }

func flood(at time.Duration) int { return min(10_000+int(4000*at.Seconds()), 65_000) }

// A small steady loss keeps an episode open for days. Each flood in it is told
// anew.
func TestEachFloodOfALongEpisodeIsAdvised(t *testing.T) {
	m := newSim(Default())
	clashes := Counters{Drop: 15, InsertFailed: 15, Found: 15}
	for day := range 3 {
		if n := m.told(24*time.Hour, clashes, steady(10_000)); n[Close] > 0 {
			t.Fatalf("day %d: the episode ended, this shows nothing: %v", day, n)
		}
		if n := m.told(time.Minute, clashes, flood); n[Advised] != 1 {
			t.Errorf("day %d: advised %d times in the flood", day, n[Advised])
		}
	}
}

// However many changes wait for it, all are judged.
func TestAllAreJudged(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.RaiseMax.Step, cfg.RaiseMax.Check = Act, 1.05, time.Minute
	m := newSim(cfg)
	m.told(time.Minute, Counters{}, func(at time.Duration) int { return 30_000 + int(4000*at.Seconds()) })
	if len(m.changes) <= levels {
		t.Fatalf("%d changes, this shows nothing", len(m.changes))
	}
	m.told(10*time.Minute, Counters{}, steady(270_000))
	for _, c := range m.changes {
		if c.Outcome == "" {
			t.Errorf("change %d of %d is not judged", c.ID, len(m.changes))
		}
	}
}

// What was not seen was not calm: after a suspend neither the episode nor a change
// ends before its time.
func TestBlindTimeIsNotCalm(t *testing.T) {
	cfg := Default()
	cfg.Mode = Act
	m := newSim(cfg)
	m.told(2*time.Second, Counters{}, steady(60_000))
	if m.acts != 1 {
		t.Fatalf("%d acts", m.acts)
	}
	for _, d := range m.step(11*time.Minute, 1000, Counters{}) {
		t.Errorf("at the first reading after a gap: %s", line(m.now, d))
	}
	if n := m.told(9*time.Minute, Counters{}, steady(1000)); n[Undo] != 0 || n[Judge] != 1 || n[Close] != 1 {
		t.Errorf("in nine minutes of calm: %v, want no undo before the hold", n)
	}
	if n := m.told(2*time.Minute, Counters{}, steady(1000)); n[Undo] != 1 {
		t.Errorf("after the hold: %v", n)
	}
}

// A restart after the episode says nothing of it.
func TestRestartAfterTheEpisode(t *testing.T) {
	cfg := Default()
	cfg.Mode = Act
	m := newSim(cfg)
	n := m.told(5*time.Second, Counters{}, steady(60_000))
	n2 := m.told(6*time.Minute, Counters{}, steady(1000))
	if n[Open] != 1 || n2[Close] != 1 {
		t.Fatalf("%v %v", n, n2)
	}
	m.restart()
	if n := m.told(30*time.Minute, Counters{}, steady(1000)); n[Open] != 0 || n[Close] != 0 || n[Undo] != 1 {
		t.Errorf("after the restart: %v, want only the undo", n)
	}
}

// A restart in the episode does not forget what was done once in it: here the
// buckets' growth, made before the raises that followed.
func TestRestartKeepsThePhase(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.GrowBuckets.Cooldown = Act, time.Second
	m := newSim(cfg)
	m.s.Buckets = 1024
	m.told(2*time.Second, Counters{}, steady(9000))
	m.told(20*time.Second, Counters{}, func(at time.Duration) int { return 9000 + int(10_000*at.Seconds()) })
	grown := func() (n int) {
		for _, c := range m.changes {
			if c.Measure == GrowBuckets {
				n++
			}
		}
		return n
	}
	if grown() != 1 || len(m.changes) < 3 {
		t.Fatalf("changes %+v, want one growth before several raises", m.changes)
	}
	m.restart()
	m.s.Buckets = 16384 // as it was left
	m.told(time.Minute, Counters{}, func(at time.Duration) int { return 209_000 + int(10_000*at.Seconds()) })
	if n := grown(); n != 1 {
		t.Errorf("buckets grown %d times in one episode", n)
	}
}

// In mode off there is no episode, whatever was before.
func TestOffEndsTheEpisode(t *testing.T) {
	m := newSim(Default())
	m.told(5*time.Second, Counters{}, steady(60_000))
	m.cfg.Mode = Off
	if n := m.told(time.Minute, Counters{}, steady(60_000)); len(n) != 0 || m.st.Episode.Name != "" {
		t.Errorf("%v, episode %q", n, m.st.Episode.Name)
	}
	m.cfg.Mode = Advise
	if n := m.told(time.Second, Counters{}, steady(60_000)); n[Open] != 1 || n[Advised] != 1 {
		t.Errorf("back in mode advise: %v", n)
	}
}

// A job that fills a fifth of the table once a minute is one episode, not sixty an
// hour.
func TestCronIsOneEpisode(t *testing.T) {
	m := newSim(Default())
	n := m.told(time.Hour, Counters{}, func(at time.Duration) int {
		if at%time.Minute < 10*time.Second {
			return 26_000 + int(0.2*65536*(at%time.Minute).Seconds()/10)
		}
		return 26_000
	})
	if n[Open] > 1 || n[Advised] > 1 {
		t.Errorf("%v", n)
	}
}

// The last of the ceiling is used, however little it is.
func TestTheWholeCeilingIsUsed(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.RaiseMax.Ceiling = Act, 65_536+512
	m := newSim(cfg)
	m.told(time.Minute, Counters{}, steady(70_000))
	if m.s.Max != cfg.RaiseMax.Ceiling {
		t.Errorf("max %d of %d approved while connections are refused", m.s.Max, cfg.RaiseMax.Ceiling)
	}
}

// A full table's demand counts what it refuses: once there is a slope at all, one
// raise goes as far as it must.
func TestDemandOfAFullTable(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.RaiseMax.Step = Act, 8
	m := newSim(cfg)
	m.s.Max = 16_384
	m.told(3*time.Second, Counters{}, func(at time.Duration) int { return 20_000 + int(20_000*at.Seconds()) })
	if len(m.changes) < 2 || m.changes[1].After != 8*m.changes[1].Before {
		t.Errorf("raises %+v, want the second as large as a fill of 20,000/s calls for", m.changes)
	}
}

// Near the high mark an episode waits longer before it is over.
func TestEpisodeEndsBetweenTheMarks(t *testing.T) {
	m := newSim(Default())
	m.told(5*time.Second, Counters{}, steady(60_000))
	if n := m.told(25*time.Minute, Counters{}, steady(45_000)); n[Close] != 0 {
		t.Errorf("over at 69 %% within 25 minutes: %v", n)
	}
	if n := m.told(10*time.Minute, Counters{}, steady(45_000)); n[Close] != 1 {
		t.Errorf("not over at 69 %% within 35 minutes: %v", n)
	}
}

// An episode is taken up after a restart only while it can still be the same.
func TestOldEpisodesAreNotTakenUp(t *testing.T) {
	for name, wait := range map[string]struct{ before, after time.Duration }{
		"trouble long after the restart":  {0, 6 * time.Minute},
		"change made long before the one": {time.Hour, 0},
	} {
		cfg := Default()
		cfg.Mode, cfg.GrowBuckets.Mode = Act, Act
		m := newSim(cfg)
		m.s.Buckets = 1024
		m.told(5*time.Second, Counters{}, steady(10_000)) // grown, and never shrunk
		m.told(wait.before, Counters{}, steady(1000))
		m.restart()
		m.told(wait.after, Counters{}, steady(1000))
		if n := m.told(5*time.Second, Counters{}, steady(60_000)); n[Open] != 1 {
			t.Errorf("%s: %v, want a new episode", name, n)
		}
	}
}

// Clashes say nothing of a table that is nearly full.
func TestClashesBesideANearlyFullTable(t *testing.T) {
	cfg := Default()
	cfg.Mode = Act
	m := newSim(cfg)
	clashes := Counters{Drop: 200, InsertFailed: 200, Found: 200}
	m.told(10*time.Minute, clashes, func(at time.Duration) int { return 10_000 + int(77*at.Seconds()) })
	if m.s.Max == 65536 {
		t.Errorf("max was not raised at %s", Percent(m.s.Utilization()))
	}
}

// What a full table refuses is growth, by both estimates.
func TestGrowthOfAFullTable(t *testing.T) {
	var h history
	window := 10 * time.Second
	for i := range 100 {
		h.push(&Snapshot{Count: 1000, Max: 1000, Losses: Counters{Drop: 100}}, window, time.Duration(i+1)*100*time.Millisecond)
	}
	if slow, fast := h.growth(window, 10*time.Second); slow < 990 || slow > 1010 || fast < 990 || fast > 1010 {
		t.Errorf("growth %.0f/s slow and %.0f/s fast, want 1,000 refused a second", slow, fast)
	}
}

// Buckets are not grown for a little, and are grown once the kernel takes them.
func TestGrowthIsWorthItsStall(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.GrowBuckets.Ceiling = Act, 2*bucketUnit-1
	m := newSim(cfg)
	m.s.Max, m.s.Buckets = 1<<20, bucketUnit
	if n := m.told(10*time.Second, Counters{}, steady(80_000)); n[Do] != 0 || n[Bounded] != 1 {
		t.Errorf("ceiling of no more buckets: %v", n)
	}
	cfg.GrowBuckets.Ceiling = 9 * bucketUnit
	m = newSim(cfg)
	m.s.Max, m.s.Buckets = 1<<20, 8*bucketUnit
	if n := m.told(10*time.Second, Counters{}, steady(530_000)); n[Do] != 0 || n[Bounded] != 1 {
		t.Errorf("an eighth more: %v", n)
	}
	cfg.GrowBuckets.Ceiling = 1 << 20
	m = newSim(cfg)
	m.s.Max, m.s.Buckets, m.refuse = 1<<20, 8*bucketUnit, true
	m.told(10*time.Second, Counters{}, steady(530_000))
	m.refuse = false
	if n := m.told(15*time.Minute, Counters{}, steady(530_000)); n[Do] != 1 || m.acts != 1 {
		t.Errorf("after a refusal: %v, %d acts", n, m.acts)
	}
}

// A stall is for calm times: other trouble delays the shrinking.
func TestShrinkWaitsForCalm(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.GrowBuckets.Shrink, cfg.GrowBuckets.Hold = Act, true, time.Minute
	m := newSim(cfg)
	m.s.Buckets = 1024
	m.told(5*time.Second, Counters{}, steady(10_000))
	if n := m.told(10*time.Minute, Counters{Drop: 50, InsertFailed: 50, Found: 5000}, steady(1000)); n[Undo] != 0 {
		t.Errorf("shrunk amid other trouble: %v", n)
	}
	if n := m.told(2*time.Minute, Counters{}, steady(1000)); n[Undo] != 1 || m.s.Buckets != 1024 {
		t.Errorf("not shrunk in calm: %v", n)
	}
}

// One stray drop is no verdict, whatever the window.
func TestStrayDropIsNoVerdict(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.Watch.Window = Act, time.Minute
	m := newSim(cfg)
	m.told(2*time.Second, Counters{}, steady(60_000))
	m.told(time.Second, Counters{Drop: 2}, steady(60_000))
	m.told(10*time.Second, Counters{}, steady(60_000))
	if len(m.changes) != 1 || m.changes[0].Outcome != Helped {
		t.Errorf("%+v", m.changes)
	}
}

// An episode that is taken up after a restart reaches back to its first change, whatever
// became of that: buckets that were grown in it and are somebody else's by now are not grown
// again.
func TestResumedEpisodeReachesBack(t *testing.T) {
	s := Snapshot{Max: 131072, Buckets: 65536, Count: 100_000, Changes: []Change{
		{ID: 1, Measure: GrowBuckets, State: Yielded, Episode: "e", Cause: TableFilling, Before: 8192, After: 65536, Made: 10 * time.Second, At: 30 * time.Second},
		{ID: 2, Measure: RaiseMax, State: Applied, Episode: "e", Cause: TableFilling, Before: 65536, After: 131072, Made: 20 * time.Second, At: 21 * time.Second},
	}}
	c := Default()
	var st State
	st.remember(&s, &c, time.Minute)
	if e := st.resumed; e.Name != "e" || e.Since != 10*time.Second || e.phase != 10*time.Second {
		t.Fatalf("resumed %+v", e)
	}
	st.begun = time.Minute
	if !st.resumes(&c, time.Minute) || !st.grewIn(&s) {
		t.Error("the growth before the restart is forgotten")
	}
}
