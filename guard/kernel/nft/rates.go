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

// Between is the difference of two readings of one table. It is exact for
// readings less than a minute apart; a source that paused for a minute between
// them, and so began at 0 again, may have made more. It is zero if no time has
// passed.
func Between(before, after Counts) Rates {
	r := Rates{Over: after.At - before.At}
	if r.Over <= 0 {
		return Rates{}
	}
	perSecond := func(n uint64) float64 { return float64(n) / r.Over.Seconds() }
	total, unlisted := grown(before.New, after.New), grown(before.Unlisted, after.Unlisted)
	r.New, r.Unlisted = perSecond(total), perSecond(unlisted)
	known, appeared := increments(before.Sources, after.Sources)
	rest := left(total, unlisted, known)
	for i := range appeared {
		appeared[i].New = min(appeared[i].New, rest)
	}
	for _, s := range slices.Concat(known, appeared) {
		if s.New > 0 {
			r.Sources = append(r.Sources, Rate{s.Prefix, perSecond(s.New)})
		}
	}
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

// increments sets apart the sources of the later reading that are in the earlier
// one, with what they grew by, and those that are not, with all they have.
func increments(before, after []Source) (known, appeared []Source) {
	for _, s := range after {
		for len(before) > 0 && before[0].Prefix.Compare(s.Prefix) < 0 {
			before = before[1:]
		}
		if len(before) > 0 && before[0].Prefix == s.Prefix {
			known = append(known, Source{s.Prefix, grown(before[0].New, s.New)})
		} else {
			appeared = append(appeared, s)
		}
	}
	return known, appeared
}

// left is how many connections a source that appeared may have made at most:
// those that no other did. It may have been there before, and busy for hours,
// but the earlier reading missed it.
func left(total, unlisted uint64, known []Source) uint64 {
	others := unlisted
	for _, s := range known {
		others += s.New
	}
	if others > total {
		return 0
	}
	return total - others
}
