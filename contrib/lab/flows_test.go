package lab

import (
	"net/netip"
	"testing"
)

// Sources of an IPv6 flood are /64s, of which no address comes twice and which the
// addresses are all over.
func TestFloodSourcesOfIPv6(t *testing.T) {
	f, err := Flood{Pattern: HalfOpen, IPv6: true, Sources: 3}.resolved()
	if err != nil {
		t.Fatal(err)
	}
	seen, nets := map[netip.Addr]bool{}, map[netip.Prefix]int{}
	var set [128]int // how often each bit is
	for i := range uint64(30_000) {
		a := f.source(i)
		if seen[a] || a != f.source(i) {
			t.Fatalf("flow %d from %s: it must be its own", i, a)
		}
		seen[a] = true
		for bit := range set {
			set[bit] += int(a.As16()[bit/8] >> (bit % 8) & 1)
		}
		p, _ := a.Prefix(64)
		nets[p]++
	}
	for bit, n := range set[64:] {
		if n < 14_000 || n > 16_000 {
			t.Errorf("bit %d of the last 64 is set in %d of 30000 addresses", bit, n)
		}
	}
	for n := range 3 {
		if nets[f.Source(n)] != 10_000 {
			t.Errorf("%v, want 10000 from %s", nets, f.Source(n))
		}
	}
}

// One address has been named, it is the only one, and what follows it counts.
func TestFloodFrom(t *testing.T) {
	for _, tc := range []struct {
		f     Flood
		n     int
		want  string
		count int
	}{
		{Flood{}, 2, "10.78.0.2/32", 256},
		{Flood{IPv6: true}, 0, "fd78::/64", 1},
		{Flood{From: netip.MustParseAddr("10.78.3.9")}, 0, "10.78.3.9/32", 1},
		{Flood{From: netip.MustParseAddr("10.77.0.9"), Sources: 500}, 499, "10.77.1.252/32", 500},
		{Flood{From: netip.MustParseAddr("fd78:0:0:a::5")}, 0, "fd78:0:0:a::/64", 1},
		{Flood{From: netip.MustParseAddr("fd77:0:0:a::5"), Sources: 3}, 2, "fd77:0:0:c::/64", 3},
	} {
		tc.f.Pattern = HalfOpen
		f, err := tc.f.resolved()
		if err != nil {
			t.Errorf("%+v: %v", tc.f, err)
			continue
		}
		if got := f.Source(tc.n); got.String() != tc.want || got != tc.f.Source(tc.n) || f.Sources != tc.count {
			t.Errorf("%+v: source %d is %s, of %d, want %s of %d", tc.f, tc.n, got, f.Sources, tc.want, tc.count)
		}
		if a := f.source(uint64(tc.n)); !f.Source(tc.n).Contains(a) {
			t.Errorf("%+v: flow %d from %s", tc.f, tc.n, a)
		}
	}
}

func TestFloodRefusesSources(t *testing.T) {
	addr := netip.MustParseAddr
	for what, f := range map[string]Flood{
		"no pattern":              {Pattern: "tsunami"},
		"negative":                {Pattern: UDP, Sources: -1},
		"too many":                {Pattern: UDP, Sources: 1<<16 + 1},
		"elsewhere":               {Pattern: UDP, From: addr("192.0.2.1")},
		"beyond the net":          {Pattern: UDP, From: addr("10.78.255.255"), Sources: 2},
		"another family":          {Pattern: UDP, From: addr("10.78.0.1"), IPv6: true},
		"answered where a stack":  {Pattern: Assured, From: addr("10.77.0.1")},
		"answered where a stack6": {Pattern: UDPReplied, From: addr("fd77::1")},
	} {
		if _, err := f.resolved(); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
