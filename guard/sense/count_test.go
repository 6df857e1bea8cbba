package sense

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A meter plays readings half a second apart: of each source, how many connections
// it makes in each part.
type meter struct {
	made   map[netip.Prefix][]uint64
	read   int
	broken int // the reading that fails, 0 for none
}

func (m *meter) Read() (nft.Counts, error) {
	m.read++
	if m.read == m.broken {
		return nft.Counts{}, errors.New("no answer")
	}
	c := nft.Counts{At: time.Duration(m.read) * time.Second / 2}
	for prefix, parts := range m.made {
		s := nft.Source{Prefix: prefix}
		for _, n := range parts[:min(m.read, len(parts))] {
			s.New += n
		}
		if c.New += s.New; s.New > 0 {
			c.Sources = append(c.Sources, s)
		}
	}
	slices.SortFunc(c.Sources, func(a, b nft.Source) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return c, nil
}

func (m *meter) Close() error { return nil }

func TestCountTellsBurstsFromSteady(t *testing.T) {
	of := func(text string) netip.Prefix { return netip.MustParsePrefix(text) }
	m := &meter{made: map[netip.Prefix][]uint64{ // the first number is from before
		of("10.0.0.1/32"):     {7, 100, 100, 100, 100},
		of("10.0.0.2/32"):     {0, 0, 900, 900, 0}, // the fastest, but a burst
		of("10.0.0.3/32"):     {0, 0, 50, 50, 50},  // appears later
		of("10.0.0.4/32"):     {5, 40, 30, 20, 30},
		of("10.0.0.5/32"):     {5, 40, 30, 20, 0},
		of("10.0.0.6/32"):     {500, 0, 0, 0, 0},
		of("10.0.0.7/32"):     {0, 10, 10, 10, 10},
		of("2001:db8::/64"):   {0, 60, 61, 62, 63},
		of("2001:db8:1::/64"): {0, 0, 0, 0, 1},
	}}
	var counting count
	counting.begin(m)
	if err := counting.finish(t.Context(), m, time.Nanosecond); err != nil || counting.failed != nil {
		t.Fatal(err, counting.failed)
	}
	var c policy.Census
	want := []policy.Holder{
		{Prefix: of("10.0.0.1/32"), New: 200, Steady: 200},
		{Prefix: of("10.0.0.2/32"), New: 900},
		{Prefix: of("10.0.0.3/32"), New: 75},
		{Prefix: of("10.0.0.4/32"), New: 60, Steady: 40},
		{Prefix: of("10.0.0.5/32"), New: 45},
		{Prefix: of("10.0.0.6/32")},
		{Prefix: of("10.0.0.7/32"), New: 20, Steady: 20},
		{Prefix: of("2001:db8::/64"), New: 123, Steady: 120},
		{Prefix: of("2001:db8:1::/64"), New: 0.5},
		{Prefix: of("10.0.0.9/32")}, // is not counted
	}
	for i, h := range want {
		c.Sources[i].Prefix = h.Prefix
	}
	counting.rates(&c)
	for i, h := range want {
		if c.Sources[i] != h {
			t.Errorf("%+v, want %+v", c.Sources[i], h)
		}
	}
	if !c.Counted || c.New != 1423.5 || c.Fastest != want[1] {
		t.Errorf("in all %v, the fastest %+v", c.New, c.Fastest)
	}
	for _, h := range c.Sources[len(want):] {
		if h != (policy.Holder{}) {
			t.Errorf("made up: %+v", h)
		}
	}
}

// What has passed since the first reading is not waited for again.
func TestCountBeginsAtTheFirstReading(t *testing.T) {
	for passed, want := range map[time.Duration]time.Duration{0: time.Second, 100 * time.Millisecond: 900 * time.Millisecond, time.Hour: 750 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			m := &meter{made: map[netip.Prefix][]uint64{hog: {0, 1, 1, 1, 1}}}
			var counting count
			counting.begin(m)
			time.Sleep(passed)
			began := time.Now()
			if err := counting.finish(t.Context(), m, partApart); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != want || m.read != 5 {
				t.Errorf("%v after the first reading: %d readings took %v, want %v", passed, m.read, took, want)
			}
		})
	}
}

// A reading that fails is no rate.
func TestCountSaysThatAReadingFailed(t *testing.T) {
	for broken := 1; broken <= parts+1; broken++ {
		m := &meter{made: map[netip.Prefix][]uint64{hog: {0, 1, 1, 1, 1}}, broken: broken}
		var counting count
		counting.begin(m)
		err := counting.failed
		if err == nil {
			err = counting.finish(t.Context(), m, time.Nanosecond)
		}
		if err == nil || m.read != broken {
			t.Errorf("reading %d: %v after %d", broken, err, m.read)
		}
	}
}
