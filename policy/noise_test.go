package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Traffic that goes nowhere, at whatever size and pace, is no flood: a table with
// Poisson arrivals and departures around 55 % is left alone.
func TestSteadyTrafficIsLeftAlone(t *testing.T) {
	for _, tc := range []struct{ limit, perSecond int }{{65536, 18000}, {16384, 1000}, {4096, 100}, {1024, 29}} {
		for seed := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, 1))
			cfg := Default()
			cfg.Mode = Act
			m := newSim(cfg)
			m.s.Max, m.s.Buckets = tc.limit, tc.limit
			mean := 0.55 * float64(tc.limit)
			level := mean
			for m.now < 11*time.Minute {
				pause := Pause(&m.s, &m.cfg)
				// Arrivals and departures are independent; departures pull towards the mean.
				moved := float64(tc.perSecond) * pause.Seconds()
				level += math.Sqrt(2*moved)*rng.NormFloat64() - (level-mean)*moved/mean
				for _, d := range m.step(pause, int(level), Counters{}) {
					t.Fatalf("max %d, %d/s, seed %d: %s", tc.limit, tc.perSecond, seed, line(m.now, d))
				}
			}
		}
	}
}

// A count that swings across every mark is told when it begins and when it has
// become something else, not at every swing.
func TestSwingsAreNotToldOneByOne(t *testing.T) {
	for _, period := range []time.Duration{2 * time.Second, 11 * time.Second, 35 * time.Second, 80 * time.Second} {
		cfg := Default()
		m := newSim(cfg)
		told := map[Verb]int{}
		for m.now < time.Hour {
			pause := Pause(&m.s, &m.cfg)
			phase := 2 * math.Pi * float64(m.now) / float64(period)
			for _, d := range m.step(pause, int(52000+11600*math.Sin(phase)), Counters{}) {
				told[d.Verb]++
			}
		}
		sum := 0
		for _, n := range told {
			sum += n
		}
		if sum > 30 {
			t.Errorf("period %s: %d lines in an hour: %v", period, sum, told)
		}
	}
}

// Whatever the window, a table that goes on losing after the raise was not helped
// enough.
func TestJudgementDoesNotDependOnTheWindow(t *testing.T) {
	for _, window := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute} {
		cfg := Default()
		cfg.Mode, cfg.Watch.Window, cfg.RaiseMax.Ceiling = Act, window, 100_000
		m := newSim(cfg)
		var judged []Outcome
		want := 60000
		for m.now < 130*time.Second {
			pause := Pause(&m.s, &m.cfg)
			want += int(10000 * pause.Seconds())
			for _, d := range m.step(pause, want, Counters{}) {
				if d.Verb == Judge {
					judged = append(judged, d.Outcome)
				}
			}
		}
		if len(judged) != 1 || judged[0] != NotEnough {
			t.Errorf("window %s: judged %q", window, judged)
		}
	}
}

// While nothing can be recorded, what would be done is advised, and once.
func TestUnableOnlyAdvises(t *testing.T) {
	cfg := Default()
	cfg.Mode = Act
	m := newSim(cfg)
	m.s.Unable = "the disk is full"
	told := map[Verb]int{}
	for range 100 {
		for _, d := range m.step(200*time.Millisecond, 60000, Counters{}) {
			told[d.Verb]++
		}
	}
	if told[Do] != 0 || told[Advised] != 1 {
		t.Errorf("%v, want one advice and no act", told)
	}
}

// A reload forgets what was said: the new bounds have an end of their own.
func TestReconsider(t *testing.T) {
	cfg := Default()
	cfg.Mode, cfg.RaiseMax.Ceiling = Act, 70_000
	m := newSim(cfg)
	bounded := 0
	run := func() {
		for range 50 {
			for _, d := range m.step(200*time.Millisecond, 90000, Counters{}) {
				if d.Verb == Bounded {
					bounded++
				}
			}
		}
	}
	run()
	m.cfg.RaiseMax.Ceiling = 80_000
	m.st.Reconsider()
	run()
	if m.s.Max != 80_000 || bounded != 2 {
		t.Errorf("max %d, %d times bounded; want 80,000 and once for each ceiling", m.s.Max, bounded)
	}
}

func TestBudgets(t *testing.T) {
	c := Default()
	s := &Snapshot{Count: 1000, Max: 65536, Buckets: 65536, MemAvailable: 384 * 99_000}
	if got := affordable(s, &c); got != 25_000 { // a quarter of 100,000 entries' worth
		t.Errorf("affordable %d, want 25,000", got)
	}
	c.Memory.Tables = 5
	if got := affordable(s, &c); got != 5_000 {
		t.Errorf("affordable among five tables %d, want 5,000", got)
	}
	s.MemAvailable = 4 * 8 * 3 * bucketUnit // a quarter of it holds three units of buckets
	s.Buckets = bucketUnit
	if got, bound := sizeBuckets(s, &c, 10*bucketUnit); got != 3*bucketUnit || bound == "" {
		t.Errorf("buckets %d (%s), want %d by the budget", got, bound, 3*bucketUnit)
	}
	if got := roomFor(1000, &c); got != 500 {
		t.Errorf("room for %d in 1,000 at a low mark of 50 %%, want 500", got)
	}
	c.Watch.Low = 0.9
	if got := roomFor(1000, &c); got != 800 {
		t.Errorf("room for %d in 1,000 at a low mark of 90 %%, want 800: a quarter is margin", got)
	}
}
