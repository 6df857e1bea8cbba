package census

import (
	"math"
	"sort"
)

// A scale makes figures of the whole table out of what was counted in the
// entries that were read. The census is full if these are all.
type scale struct{ read, table int }

// z is the quantile of the normal distribution for an interval of 99 %.
const z = 2.5758293035489

// figure is that of what was counted seen times for certain and unsure times more
// at most.
//
// What a dump gives first is a random sample without replacement: the order is
// that of a keyed hash. So a sample has Wilson's score interval, with the
// correction for a finite population. Wilson's is too narrow at the ends: with the
// share at the lower end for 2 entries seen, 6 % of samples have 2 or more, not
// 0.5 %. Taken for one entry less below and one more above, the interval holds in
// more than 98.5 % of samples wherever the share lies, and in 99 % nearly
// everywhere.
func (s scale) figure(seen, unsure int) Figure {
	most := min(seen+unsure, s.read)
	f := Figure{Entries: seen, Low: seen, High: most}
	if s.read < s.table {
		f.Entries = s.entries(seen)
		low, _ := s.wilson(seen - 1)
		_, high := s.wilson(most + 1)
		// What was seen is there.
		f.Low = max(int(math.Floor(low*float64(s.table))), seen)
		f.High = min(int(math.Ceil(high*float64(s.table))), s.table-(s.read-most))
	}
	if s.table > 0 {
		f.Share = float64(f.Entries) / float64(s.table)
	}
	return f
}

// listed is the figure of a key that is listed for being one of the largest of
// those seen. Of many small ones these are what the sample happens to be rich of,
// and the interval of a single figure would hold none of their true numbers.
func (s scale) listed(seen, unsure int) Figure {
	f := s.figure(seen, unsure)
	if s.read < s.table {
		f.Low = min(f.Low, s.least(seen, f.Entries))
	}
	return f
}

// least is how many entries a key has at least that was seen so often, be it any of
// the table's; most is enough. There are table/n keys of n entries at most, so the
// chance that one of them is seen so often is table/n times that of a single one at
// most. With n entries that is over 0.5 %, with fewer it is not. Since each key's
// part in that chance is by its share of the table, they add up to 0.5 % for all.
func (s scale) least(seen, most int) int {
	plausible := func(more int) bool {
		n := seen + more
		return s.chance(n, seen)+math.Log(float64(s.table)/float64(n)) > math.Log(.005)
	}
	return seen + sort.Search(most-seen, plausible)
}

// chance is the logarithm of the chance that of n entries k or more are in the
// sample, or a little more: the hypergeometric distribution falls off beyond its
// mean at least as fast as at its first step.
func (s scale) chance(n, k int) float64 {
	of, read, in, seen := float64(s.table), float64(s.read), float64(n), float64(k)
	if k == 0 || seen*of <= read*in {
		return 0
	}
	step := (in - seen) * (read - seen) / ((seen + 1) * (of - in - read + seen + 1))
	first := choices(in, seen) + choices(of-in, read-seen) - choices(of, read)
	return min(0, first-math.Log1p(-step))
}

// choices is the logarithm of how many ways there are to choose k of n.
func choices(n, k float64) float64 {
	all, _ := math.Lgamma(n + 1)
	chosen, _ := math.Lgamma(k + 1)
	rest, _ := math.Lgamma(n - k + 1)
	return all - chosen - rest
}

// entries is how many of the table are as seen of those read.
func (s scale) entries(seen int) int {
	if s.read == 0 {
		return 0
	}
	return int(math.Round(float64(seen) * float64(s.table) / float64(s.read)))
}

// wilson is the interval of the share that seen of those read are of, for a
// sample. A sample of n from a table of N tells as much as one of n(N-1)/(N-n)
// from an endless one.
func (s scale) wilson(seen int) (low, high float64) {
	n := float64(s.read) * float64(s.table-1) / float64(s.table-s.read)
	p := float64(min(max(seen, 0), s.read)) / float64(s.read)
	middle := p + z*z/(2*n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	whole := 1 + z*z/n
	return max(0, (middle-half)/whole), min(1, (middle+half)/whole)
}
