package policy

import (
	"testing"
	"time"
)

func TestAttribute(t *testing.T) {
	for name, tc := range map[string]struct {
		c    Counters
		util float64
		want losses
	}{
		"nothing":                     {Counters{Found: 9, Invalid: 9, ClashResolve: 9}, 1, losses{}},
		"full of assured entries":     {Counters{Drop: 7}, 1, losses{full: 7}},
		"evicting half-open entries":  {Counters{EarlyDrop: 7}, 1, losses{full: 7}},
		"no source port":              {Counters{Drop: 7, InsertFailed: 7, Found: 420}, 0.3, losses{snat: 7}},
		"no source port, nearly full": {Counters{Drop: 7, InsertFailed: 7, Found: 420}, 1, losses{snat: 7}},
		"clashes":                     {Counters{Drop: 7, InsertFailed: 7, Found: 7}, 0.3, losses{unknown: 7}},
		"long chains":                 {Counters{InsertFailed: 7, ChainTooLong: 7}, 0.5, losses{chains: 7}},
		"no memory":                   {Counters{Drop: 7}, 0.5, losses{memory: 7}},
		"full and no source port":     {Counters{Drop: 10, InsertFailed: 3, Found: 90}, 1, losses{full: 7, snat: 3}},
		"insert_failed by itself":     {Counters{InsertFailed: 7}, 0.5, losses{unknown: 7}},
		"all at once": {
			Counters{Drop: 10, InsertFailed: 9, ChainTooLong: 5, EarlyDrop: 2, Found: 200},
			1,
			losses{full: 8, snat: 4, chains: 5},
		},
	} {
		if got := attribute(tc.c, tc.util); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// A drop just before our own raise is charged to the table as it was.
func TestLossBeforeRaiseIsAFullTable(t *testing.T) {
	var h history
	window := 10 * time.Second
	h.push(&Snapshot{Count: 1000, Max: 1000}, window, time.Second)
	h.push(&Snapshot{Count: 1001, Max: 2000, Losses: Counters{Drop: 5}}, window, 2*time.Second)
	lost, _ := h.lost(0)
	if want := (losses{full: 5}); lost != want {
		t.Errorf("attributed %+v, want %+v", lost, want)
	}
}

func TestFillRateSurvivesOutliers(t *testing.T) {
	var h history
	window := 10 * time.Second
	for i := range 100 {
		count := 1000 + 100*i // 1,000 entries a second
		if i%6 == 5 {
			count = 40_000
		}
		h.push(&Snapshot{Count: count, Max: 65536}, window, time.Duration(i+1)*100*time.Millisecond)
	}
	if rate := h.theilSen(0, time.Second); rate < 900 || rate > 1100 {
		t.Errorf("slope %.0f/s with one reading in six wrong, want about 1,000/s", rate)
	}
}

func TestFillRateOfAFloodAtItsSecondReading(t *testing.T) {
	var h history
	for i, count := range []int{0, 0, 0, 0, 10_000, 20_000} {
		h.push(&Snapshot{Count: count, Max: 65536}, 10*time.Second, time.Duration(i+1)*100*time.Millisecond)
		want := 0.0
		if i == 5 {
			want = 100_000
		}
		slow, fast := h.growth(10*time.Second, time.Duration(i+1)*100*time.Millisecond)
		if fast < want*0.99 || fast > want*1.01 || slow != 0 {
			t.Errorf("reading %d: growth %.0f/s slow and %.0f/s fast, want 0 and %.0f", i, slow, fast, want)
		}
	}
}

// Time that stands still or goes back must not divide by zero or rewrite history.
func TestStandingClock(t *testing.T) {
	var h history
	s := &Snapshot{Count: 5, Max: 10}
	h.push(s, time.Second, time.Second)
	before := h
	h.push(&Snapshot{Count: 9, Max: 10}, time.Second, time.Second)
	h.push(&Snapshot{Count: 9, Max: 10}, time.Second, time.Millisecond)
	if h != before {
		t.Error("a reading that did not move time forward was taken in")
	}
}

func TestPause(t *testing.T) {
	c := Default()
	for _, tc := range []struct {
		count, max int
		want       time.Duration
	}{
		{0, 0, time.Second},                   // no limit
		{0, 1 << 20, time.Second},             // 5 s of room
		{0, 65536, 327680 * time.Microsecond}, // 0.65 s of room
		{60000, 65536, 100 * time.Millisecond},
		{70000, 65536, 100 * time.Millisecond}, // max was lowered under the count
	} {
		if got := Pause(&Snapshot{Count: tc.count, Max: tc.max}, &c); got != tc.want {
			t.Errorf("%d of %d: pause %s, want %s", tc.count, tc.max, got, tc.want)
		}
	}
}

func TestText(t *testing.T) {
	for got, want := range map[string]string{
		Number(0): "0", Number(999): "999", Number(1000): "1,000", Number(-1234567): "-1,234,567",
		Percent(0.051): "5 %", Span(Never): "never", Span(1234 * time.Millisecond): "1.2s",
		Span(72 * time.Hour): "3 days", Span(90 * time.Second): "1m30s", Span(time.Hour): "1h", Span(2 * time.Minute): "2m", Span(20 * time.Second): "20s", Span(2 * time.Millisecond): "2ms",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A tick of a calm table allocates nothing.
func TestDecideAllocatesNothingWhenCalm(t *testing.T) {
	c, st, now := Default(), State{}, time.Second
	s := Snapshot{Count: 1000, Max: 65536, Buckets: 65536, MemAvailable: 1 << 30}
	allocs := testing.AllocsPerRun(1000, func() {
		now += 300 * time.Millisecond
		st, _ = Decide(st, s, c, now)
	})
	if allocs != 0 {
		t.Errorf("%g allocations a decision, want 0", allocs)
	}
}

func BenchmarkDecideCalm(b *testing.B) {
	c, st, now := Default(), State{}, time.Second
	s := Snapshot{Count: 1000, Max: 65536, Buckets: 65536, MemAvailable: 1 << 30}
	b.ReportAllocs()
	for b.Loop() {
		now += 300 * time.Millisecond
		st, _ = Decide(st, s, c, now)
	}
}
