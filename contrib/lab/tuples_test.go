package lab

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// drawEntries are some that can be made: few enough for the ports there are.
func drawEntries(t *rapid.T) Entries {
	e := Entries{
		Count:        rapid.IntRange(0, 800).Draw(t, "count"),
		Family:       rapid.SampledFrom([]uint8{0, 4, 6}).Draw(t, "family"),
		Proto:        rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP}).Draw(t, "proto"),
		Timeout:      time.Minute,
		Zone:         rapid.Uint16Range(0, 1).Draw(t, "zone"),
		Sources:      rapid.IntRange(0, 40).Draw(t, "sources"),
		FirstSource:  rapid.IntRange(0, 40).Draw(t, "first source"),
		PerNet:       3,
		Destinations: rapid.IntRange(0, 12).Draw(t, "destinations"),
	}
	nat, backend := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("192.0.2.1")
	if e.Family == 6 {
		nat, backend = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00:1::1")
	}
	switch {
	case e.Proto == unix.IPPROTO_TCP:
		e.State = Established
	case e.Proto == unix.IPPROTO_ICMP && e.Family == 6:
		e.Proto = unix.IPPROTO_ICMPV6
	}
	if !e.isICMP() {
		e.Ports = rapid.SliceOfNDistinct(rapid.Uint16(), 0, 4, rapid.ID[uint16]).Draw(t, "ports")
	}
	if rapid.Bool().Draw(t, "snat") {
		e.SNAT = NATPool{First: nat, Addresses: 2, Ports: Ports{4000, 7999}}
	}
	if rapid.Bool().Draw(t, "dnat") {
		e.DNAT = backend
	}
	return e
}

// No two entries of a gateway share a direction, whatever their mix: the kernel
// would refuse the second.
func TestNoTwoEntriesShareATuple(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mix := rapid.SliceOfN(rapid.Custom(drawEntries), 1, 5).Draw(t, "mix")
		orig, reply := map[identity]bool{}, map[identity]bool{}
		total := 0
		for _, e := range mix {
			total += e.Count
		}
		err := Each(func(e Entry) {
			orig[identity{e.Orig, e.Kind.Proto, e.Kind.Zone}] = true
			reply[identity{e.Reply, e.Kind.Proto, e.Kind.Zone}] = true
		}, mix...)
		if err != nil {
			t.Fatal(err)
		}
		if len(orig) != total || len(reply) != total {
			t.Fatalf("%d tuples and %d replies in %d entries", len(orig), len(reply), total)
		}
	})
}

// Sources and services have their even share each.
func TestSharesAreEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntries(t)
		e.SNAT = NATPool{}
		truth, err := CountTruth(e)
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.resolved()
		if err != nil {
			t.Fatal(err)
		}
		if r.Family == 4 {
			even(t, truth.Sources, r.Count, r.Sources)
		}
		even(t, truth.Services, r.Count, r.services())
	})
}

func even[K comparable](t *rapid.T, counts map[K]int, total, of int) {
	if want := min(total, of); len(counts) != want {
		t.Fatalf("%d have a share, want %d", len(counts), want)
	}
	up := 0
	for k, n := range counts {
		if n != total/of && n != total/of+1 {
			t.Fatalf("%v has %d of %d among %d", k, n, total, of)
		}
		up += n - total/of
	}
	if up != total%of && total >= of {
		t.Fatalf("%d have one more than %d of %d, want %d", up, total, of, total%of)
	}
}

// A pool is used up to its last port before a port would be used twice.
func TestPoolIsUsedUp(t *testing.T) {
	e := Entries{
		Count: 1500, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Sources: 7, Destinations: 3,
		SNAT: NATPool{First: netip.MustParseAddr("203.0.113.1"), Ports: Ports{20000, 20499}},
	}
	truth, err := CountTruth(e)
	if err != nil || len(truth.Pools) != 3 {
		t.Fatalf("pools %v, %v, want three", truth.Pools, err)
	}
	for p, use := range truth.Pools {
		if (use != PortUse{500, 20000, 20499}) {
			t.Errorf("%+v: %+v, want all 500", p, use)
		}
	}
	e.Count++
	if _, err := CountTruth(e); err == nil {
		t.Error("no error for an entry more than there are ports")
	}
	e.Destinations = 0 // then there are as many as that takes
	truth, err = CountTruth(e)
	if err != nil || len(truth.Pools) != 4 {
		t.Errorf("pools %v, %v, want four", truth.Pools, err)
	}
}

// Numbers are addresses, the same whoever uses them.
func TestAddressesOfNumbers(t *testing.T) {
	v4, v6 := Entries{Family: 4, PerNet: 1}, Entries{Family: 6, PerNet: 3}
	for _, tc := range []struct {
		got  netip.Addr
		want string
	}{
		{v4.source(0), "10.128.0.0"},
		{v4.source(maxSources - 1), "10.255.255.255"},
		{v4.destination(256), "198.18.1.0"},
		{v4.destination(maxDestinations - 1), "198.19.255.255"},
		{v6.source(0), "fd81::1"},
		{v6.source(2), "fd81::3"},
		{v6.source(3), "fd81:0:0:1::1"},
		{v6.source(3 * 65536), "fd81:0:1::1"},
		{v6.destination(0), "2001:db8::1"},
	} {
		if tc.got != netip.MustParseAddr(tc.want) {
			t.Errorf("%s, want %s", tc.got, tc.want)
		}
	}
}
