package nft

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	a, b, c = netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("192.0.2.3/32")
	v6      = netip.MustParsePrefix("2001:db8::/64")
)

func comparePrefix(x, y netip.Prefix) bool { return x == y }

func TestBetween(t *testing.T) {
	before := Counts{At: 10 * time.Second, New: 1000, Unlisted: 50, Sources: []Source{{a, 100}, {b, 200}, {v6, 300}}}
	for _, tc := range []struct {
		name  string
		after Counts
		want  Rates
	}{
		{
			"nothing happened",
			Counts{At: 20 * time.Second, New: 1000, Unlisted: 50, Sources: before.Sources},
			Rates{Over: 10 * time.Second},
		},
		{
			"fastest first",
			Counts{At: 14 * time.Second, New: 1060, Unlisted: 58, Sources: []Source{{a, 108}, {b, 200}, {v6, 340}}},
			Rates{Over: 4 * time.Second, New: 15, Unlisted: 2, Sources: []Rate{{v6, 10}, {a, 2}}},
		},
		{
			"a new source, and one that is gone",
			Counts{At: 12 * time.Second, New: 1010, Unlisted: 50, Sources: []Source{{a, 104}, {c, 6}, {v6, 300}}},
			Rates{Over: 2 * time.Second, New: 5, Sources: []Rate{{c, 3}, {a, 2}}},
		},
		{
			"one that expired and came back",
			Counts{At: 110 * time.Second, New: 1020, Unlisted: 50, Sources: []Source{{a, 20}, {b, 200}, {v6, 300}}},
			Rates{Over: 100 * time.Second, New: 0.2, Sources: []Rate{{a, 0.2}}},
		},
		{
			"one that the first reading missed is no spike",
			Counts{At: 11 * time.Second, New: 1030, Unlisted: 54, Sources: []Source{{a, 116}, {b, 200}, {c, 5000}, {v6, 300}}},
			Rates{Over: time.Second, New: 30, Unlisted: 4, Sources: []Rate{{a, 16}, {c, 10}}},
		},
		{
			"more in the sources, which are read later",
			Counts{At: 11 * time.Second, New: 1001, Unlisted: 50, Sources: []Source{{a, 103}, {c, 7}}},
			Rates{Over: time.Second, New: 1, Sources: []Rate{{a, 3}}},
		},
		{
			"installed anew",
			Counts{At: 12 * time.Second, New: 8, Unlisted: 2, Sources: []Source{{a, 6}}},
			Rates{Over: 2 * time.Second, New: 4, Unlisted: 1, Sources: []Rate{{a, 3}}},
		},
		{"no time", Counts{At: 10 * time.Second, New: 2000}, Rates{}},
		{"time went back", Counts{At: 9 * time.Second, New: 2000}, Rates{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Between(before, tc.after), cmp.Comparer(comparePrefix)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBetweenFromNothing(t *testing.T) {
	got := Between(Counts{}, Counts{At: time.Second, New: 3, Sources: []Source{{a, 1}, {v6, 2}}})
	want := Rates{Over: time.Second, New: 3, Sources: []Rate{{v6, 2}, {a, 1}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(comparePrefix)); diff != "" {
		t.Error(diff)
	}
}
