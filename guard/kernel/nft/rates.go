package nft

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Rates is how fast connections were begun between two readings, in connections
// per second.
type Rates struct {
	Over     time.Duration
	New      float64
	Unlisted float64 // of sources that found no room
	Sources  []Rate  // those that began any, fastest first
}

// A Rate is that of one source.
type Rate struct {
	Prefix netip.Prefix
	New    float64
}

// Between is the difference of two readings of one table, which should be less
// than a minute apart: a source that paused for a minute between them, and so
// began at 0 again, may have made more than it says. It is zero if no time has
// passed.
func Between(before, after Counts) Rates {
	r := Rates{Over: after.At - before.At}
	if r.Over <= 0 {
		return Rates{}
	}
	perSecond := func(n uint64) float64 { return float64(n) / r.Over.Seconds() }
	total, unlisted := grown(before.New, after.New), grown(before.Unlisted, after.Unlisted)
	r.New, r.Unlisted = perSecond(total), perSecond(unlisted)
	// Those that appeared can't have made more than what no other made.
	rest := minus(total, unlisted)
	match(before.Sources, after.Sources, func(s Source, known bool) {
		if known {
			rest = minus(rest, s.New)
		}
	})
	match(before.Sources, after.Sources, func(s Source, known bool) {
		if !known {
			s.New = min(s.New, rest)
		}
		if s.New > 0 {
			r.Sources = append(r.Sources, Rate{s.Prefix, perSecond(s.New)})
		}
	})
	slices.SortFunc(r.Sources, func(a, b Rate) int {
		return cmp.Or(-cmp.Compare(a.New, b.New), a.Prefix.Compare(b.Prefix))
	})
	return r
}

// grown is by how much a count that only goes up, or begins again at 0, has
// grown.
func grown(before, after uint64) uint64 {
	if after < before {
		return after
	}
	return after - before
}

// minus is a difference that does not go below 0.
func minus(a, b uint64) uint64 { return a - min(a, b) }

// match calls each with every source of the later reading. Of one that is known
// from the earlier reading New is what it grew by; of another it is all it has.
//
// Such a one may be new, or have been there for hours and missed by the earlier
// reading: while the kernel shrank the hash table of a set, 3 of 1,500 readings
// lacked up to 388 of 2,000 sources that were there all the time.
func match(before, after []Source, each func(s Source, known bool)) {
	for _, s := range after {
		for len(before) > 0 && before[0].Prefix.Addr().Less(s.Prefix.Addr()) {
			before = before[1:]
		}
		known := len(before) > 0 && before[0].Prefix == s.Prefix
		if known {
			s.New = grown(before[0].New, s.New)
		}
		each(s, known)
	}
}
