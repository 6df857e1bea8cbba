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

// A pool gives each of its addresses every port once, and begins again in the
// midst where another mix has ended.
func TestPoolGoesRound(t *testing.T) {
	pool := NATPool{First: netip.MustParseAddr("203.0.113.1"), Addresses: 2, Ports: Ports{10, 13}}
	all := Entries{Count: 8, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, SNAT: pool}
	six := func(port uint16) Entries {
		e := all
		e.Count, e.Ports = 6, []uint16{port}
		return e
	}
	truth, err := CountTruth(six(53), all, six(54))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		nat  uint32
		port uint16
		PortUse
	}{
		{0, 53, PortUse{3, 10, 12}},
		{1, 53, PortUse{3, 10, 12}},
		{0, 443, PortUse{4, 10, 13}}, // from 13 on
		{1, 443, PortUse{4, 10, 13}},
		{0, 54, PortUse{3, 10, 13}}, // 13, then 10 and 11
	} {
		p := Pool{plus(pool.First, want.nat), Entries{Family: 4}.destination(0), want.port, unix.IPPROTO_UDP}
		if use := truth.Pools[p]; use != want.PortUse {
			t.Errorf("%+v: %+v, want %+v", p, use, want.PortUse)
		}
	}
}

// A source does not use one port for all services, which would make the kernel
// slow to translate it.
func TestServicesSpreadOverPorts(t *testing.T) {
	ports := map[uint16]bool{}
	err := Each(func(e Entry) { ports[e.Orig.SrcPort] = true },
		Entries{Count: 10_000, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Destinations: 1000, Ports: []uint16{80, 443}})
	if err != nil || len(ports) < 9000 {
		t.Errorf("%d ports in 10000 entries, %v, want nearly as many", len(ports), err)
	}
}

// An echo is answered by the type that answers it, RFC 792 and RFC 4443.
func TestEchoReplies(t *testing.T) {
	for _, tc := range []struct {
		e          Entries
		ask, reply uint16
	}{
		{Entries{Proto: unix.IPPROTO_ICMP}, 8 << 8, 0},
		{Entries{Proto: unix.IPPROTO_ICMPV6, Family: 6}, 128 << 8, 129 << 8},
	} {
		tc.e.Count, tc.e.Timeout = 1, time.Minute
		err := Each(func(e Entry) {
			if e.Orig.DstPort != tc.ask || e.Reply.DstPort != tc.reply || e.Orig.SrcPort != e.Reply.SrcPort {
				t.Errorf("%+v, want %#x answered by %#x with the same id", e, tc.ask, tc.reply)
			}
		}, tc.e)
		if err != nil {
			t.Error(err)
		}
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
