package page

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However many readings there are, what is kept is bounded, and neither an extreme nor
// a loss is lost on the way to the pixels.
func TestSeriesKeepsExtremes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3*mostBuckets).Draw(t, "readings")
		peakAt, dipAt := rapid.IntRange(0, n-1).Draw(t, "peak"), rapid.IntRange(0, n-1).Draw(t, "dip")
		pause := time.Duration(rapid.IntRange(int(time.Millisecond), int(2*time.Second)).Draw(t, "pause"))
		var s series
		var lost Losses
		for i := range n {
			count := 1000 + i%7
			switch i {
			case peakAt:
				count = 9000
			case dipAt:
				count = 10
			}
			l := Losses{Drop: uint64(i % 3), EarlyDrop: uint64(i % 2), InsertFailed: uint64(i / (n - i + 1) % 5)}
			lost = lost.plus(l)
			s.add(time.Duration(i)*pause, count, 10_000+i, float64(count)/10_000, l)
		}
		if len(s.buckets) > mostBuckets {
			t.Fatalf("%d buckets are kept", len(s.buckets))
		}
		low, high, limit, used, sum := 1<<30, 0, 0, 0.0, Losses{}
		for _, c := range s.cells(0, time.Duration(n-1)*pause, rapid.IntRange(1, 1200).Draw(t, "pixels")) {
			low, high, limit, used, sum = min(low, c.low), max(high, c.high), max(limit, c.limitHigh), max(used, c.used), sum.plus(c.lost)
		}
		if high != 9000 || used != 0.9 || limit != 10_000+n-1 || sum != lost {
			t.Errorf("highest %d at %v, limit %d, lost %v; want 9000 at 0.9, %d, %v", high, used, limit, sum, 10_000+n-1, lost)
		}
		if dipAt != peakAt && low != 10 {
			t.Errorf("lowest %d, want 10", low)
		}
	})
}

// Where readings are rarer than the places for them, the last one holds, but for a gap.
func TestSeriesHoldsUntilTheNextReading(t *testing.T) {
	var s series
	for _, at := range []time.Duration{0, time.Second, 2 * time.Second, 30 * time.Second} {
		s.add(at, int(at/time.Second)+1, 100, 0, Losses{Drop: 1})
	}
	var got []int
	lost := uint64(0)
	for _, c := range s.held(s.cells(0, 30*time.Second, 91)) { // three to a second
		got = append(got, c.at)
		lost += c.lost.Drop
	}
	if want := 7 + 1; len(got) != want || got[6] != 6 || got[7] != 90 || lost != 4 {
		t.Errorf("places %v with %d lost, want 0 to 6 and 90 with 4", got, lost)
	}
}
