package census

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

func TestFiguresAreInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.IntRange(0, math.MaxInt32>>rapid.IntRange(0, 31).Draw(t, "shift")).Draw(t, "table")
		s := scale{read: rapid.IntRange(0, table).Draw(t, "read"), table: table}
		if s.read == 0 {
			s.table = 0
		}
		seen := rapid.IntRange(0, s.read).Draw(t, "seen")
		unsure := rapid.IntRange(0, 1<<rapid.IntRange(0, 20).Draw(t, "more")).Draw(t, "unsure")
		f := s.figure(seen, unsure)
		listed := s.listed(seen, unsure)
		if listed.Low < seen || listed.Low > f.Low {
			t.Errorf("%+v, but %+v in a list", f, listed)
		}
		if listed.Low = f.Low; listed != f {
			t.Errorf("%+v, but %+v in a list", f, listed)
		}
		if !(0 <= f.Low && f.Low <= f.Entries && f.Entries <= f.High && f.High <= s.table) {
			t.Errorf("%d and at most %d more in %d of %d: %+v", seen, unsure, s.read, s.table, f)
		}
		if !(f.Share >= 0 && f.Share <= 1) {
			t.Errorf("share %v", f.Share)
		}
		if f.Low < seen {
			t.Errorf("%d were seen, and are %d at least", seen, f.Low)
		}
		if others := max(0, s.read-seen-unsure); f.High > s.table-others {
			t.Errorf("%d others were seen in %d, and are %d at most", others, s.table, f.High)
		}
	})
}

func TestFigureOfAFullCensus(t *testing.T) {
	all := scale{1000, 1000}
	for _, c := range []struct {
		seen, unsure int
		want         Figure
	}{
		{0, 0, Figure{0, 0, 0, 0}},
		{1000, 0, Figure{1000, 1000, 1000, 1}},
		{250, 0, Figure{250, 250, 250, .25}},
		{250, 7, Figure{250, 250, 257, .25}},
		{998, 7, Figure{998, 998, 1000, .998}},
	} {
		if got := all.figure(c.seen, c.unsure); got != c.want {
			t.Errorf("%d and %d: %+v, want %+v", c.seen, c.unsure, got, c.want)
		}
	}
	if got := (scale{}).figure(0, 0); got != (Figure{}) {
		t.Errorf("nothing of nothing: %+v", got)
	}
}

// The interval of 99 % for a fifth of 20,000 entries out of a million is known
// from the normal distribution: 20 % ± 2.5758 σ, with σ² = pq/n·(N-n)/(N-1).
func TestIntervalOfALargeShare(t *testing.T) {
	f := scale{20_000, 1_000_000}.figure(4000, 0)
	half := 2.5758 * math.Sqrt(.2*.8/20_000*980_000/999_999) * 1e6
	for _, c := range []struct{ got, want int }{
		{f.Entries, 200_000}, {f.Low, 200_000 - int(half)}, {f.High, 200_000 + int(half)},
	} {
		if d := c.got - c.want; d < -150 || d > 150 {
			t.Errorf("%+v, want %d within 150", f, c.want)
		}
	}
	if of := (scale{20_000, 1_000_000}).figure(4000, 50); of.Low != f.Low || of.High < f.High+2300 {
		t.Errorf("with 50 more, that is 2,500: %+v, without %+v", of, f)
	}
}

// How often the interval is right is computed, not drawn: in a large table the
// number of entries seen is all but Poisson distributed around a small share, and
// that of those not seen around a large one.
func TestIntervalOfSmallAndLargeShares(t *testing.T) {
	s := scale{20_000, 100_000_000}
	for mean := 0.01; mean < 60; mean *= 1.02 {
		truth := int(mean * float64(s.table) / float64(s.read))
		mean := float64(truth) * float64(s.read) / float64(s.table)
		small, large := 0.0, 0.0
		for seen := range 200 {
			lg, _ := math.Lgamma(float64(seen + 1))
			chance := math.Exp(float64(seen)*math.Log(mean) - mean - lg)
			if f := s.figure(seen, 0); f.Low <= truth && truth <= f.High {
				small += chance
			}
			if f := s.figure(s.read-seen, 0); f.Low <= s.table-truth && s.table-truth <= f.High {
				large += chance
			}
		}
		if small < .985 || large < .985 {
			t.Errorf("%d entries, %.3f in a sample: right in %.2f %%, all but as many: %.2f %%", truth, mean, 100*small, 100*large)
		}
	}
}

// The largest of many small ones in a sample are those that it happened to be rich
// of. Not even so is any of a list taken for larger than it is.
func TestTheLargestOfManyAreNotOverrated(t *testing.T) {
	const sample, runs = 20_000, 30
	rng := rand.New(rand.NewPCG(7, 8))
	for _, c := range []struct{ table, keys int }{
		{40_000, 5000},
		{200_000, 20_000},
		{1_000_000, 3},
		{1_000_000, 30},
		{1_000_000, 300},
		{1_000_000, 1000},
		{1_000_000, 10_000},
		{1_000_000, 100_000},
		{1_000_000, 500_000},
	} {
		s, each := scale{sample, c.table}, c.table/c.keys
		wrong := 0
		for range runs {
			for _, seen := range evenly(rng, s, c.keys) {
				if f := s.listed(seen, 0); f.Low > each {
					wrong++
					break
				} else if f.Low < seen || f.Low > f.Entries {
					t.Fatalf("%d seen: %+v", seen, f)
				}
			}
		}
		if wrong > 1 {
			t.Errorf("%d keys of %d entries each: one of the list is overrated in %d of %d samples", c.keys, each, wrong, runs)
		}
	}
}

// evenly draws a sample of a table that has as many entries of each key, and
// returns how often the hundred luckiest were seen.
func evenly(rng *rand.Rand, s scale, keys int) []int {
	seen, wanted := make([]int, keys), s.read
	for i := range s.table {
		if rng.IntN(s.table-i) < wanted {
			seen[i%keys]++
			wanted--
		}
	}
	slices.Sort(seen)
	slices.Reverse(seen)
	return seen[:min(keys, rows)]
}

// What it costs to be sure of the whole list is little for a large share, for
// there can't be many of them.
func TestLowOfALargeListedShare(t *testing.T) {
	s := scale{20_000, 1_000_000}
	alone, listed := s.figure(4000, 0), s.listed(4000, 0)
	// A chance of 0.5 % in five is one of 0.1 %: 3.09 σ instead of 2.58.
	want := alone.Entries - int(float64(alone.Entries-alone.Low)*3.0902/2.5758)
	if d := listed.Low - want; d < -150 || d > 150 {
		t.Errorf("%+v, want a low of %d within 150", listed, want)
	}
	if listed.Low = alone.Low; listed != alone {
		t.Errorf("%+v, and in a list %+v", alone, listed)
	}
	if all := (scale{1000, 1000}).listed(250, 7); all != (Figure{250, 250, 257, .25}) {
		t.Errorf("of a full census: %+v", all)
	}
}

// The samples of a known table are right about every figure in it. What is drawn
// is drawn without replacement, as a dump does, from few entries as from many.
func TestSamplesCoverTheTruth(t *testing.T) {
	const table, runs = 40_000, 1000
	entries := traffic(11, table)
	for i := range entries {
		if i < table/5 {
			entries[i].Family, entries[i].Orig.Src = unix.AF_INET, ipv4(203<<24)
		}
	}
	whole := count(entries, defaults())
	truth := lists(&whole)
	asked := map[string]int{
		"source 203.0.0.0/32": table / 5, "protocol tcp": 0, "protocol ospf": 0, "zone 0": 0, "zone 3": 0,
		"state TIME_WAIT": 0, "class udp_timeout": 0, "class gre_timeout_stream": 0,
	}
	for row, n := range asked {
		if truth[row].Entries == 0 || n != 0 && n != truth[row].Entries {
			t.Fatalf("%s: %+v", row, truth[row])
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	hit := map[string]int{}
	tally := newTally(defaults())
	for run := range runs {
		n := []int{500, 2000, 20_000}[run%3]
		tally.reset()
		draw(rng, entries, n, tally.add)
		var r Report
		tally.fill(&r, scale{n, table})
		got := lists(&r)
		got["idle"], got["closing"] = r.Idle, r.Closing
		truth["idle"], truth["closing"] = whole.Idle, whole.Closing
		asked["idle"], asked["closing"] = 0, 0
		for row := range asked {
			f, listed := got[row]
			if !listed { // none was seen
				f = scale{n, table}.figure(0, 0)
			}
			if truth := truth[row].Entries; f.Low <= truth && truth <= f.High {
				hit[row]++
			}
		}
	}
	for row := range asked {
		t.Logf("%-26s %6d entries: right in %.1f %%", row, truth[row].Entries, float64(hit[row])*100/runs)
		if hit[row] < runs*98/100 {
			t.Errorf("%s: right in %d of %d runs", row, hit[row], runs)
		}
	}
}

// draw hands out n of the entries, no one twice, by a partial shuffle.
func draw(rng *rand.Rand, entries []ctnetlink.Entry, n int, use func(*ctnetlink.Entry)) {
	for i := range n {
		j := i + rng.IntN(len(entries)-i)
		entries[i], entries[j] = entries[j], entries[i]
		use(&entries[i])
	}
}
