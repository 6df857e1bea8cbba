package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What could not be made as asked is refused before anything is made.
func TestEntriesRefused(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")
	udp := Entries{Count: 10, Proto: unix.IPPROTO_UDP, Timeout: time.Minute}
	for why, change := range map[string]func(*Entries){
		"timeout":             func(e *Entries) { e.Timeout = 999 * time.Millisecond },
		"family 5":            func(e *Entries) { e.Family = 5 },
		"protocol 47":         func(e *Entries) { e.Proto = unix.IPPROTO_GRE },
		"protocol 58 in IPv4": func(e *Entries) { e.Proto = unix.IPPROTO_ICMPV6 },
		"protocol 1 in IPv6":  func(e *Entries) { e.Proto, e.Family = unix.IPPROTO_ICMP, 6 },
		"ICMP has no ports":   func(e *Entries) { e.Proto, e.Ports = unix.IPPROTO_ICMP, []uint16{80} },
		"no state 0":          func(e *Entries) { e.Proto = unix.IPPROTO_TCP },
		"no state 10":         func(e *Entries) { e.Proto, e.State = unix.IPPROTO_TCP, 10 },
		"no state 9":          func(e *Entries) { e.Proto, e.State = unix.IPPROTO_SCTP, 9 },
		"no masters 2 places": func(e *Entries) { e.Master = 2 },
		"masters are IPv4":    func(e *Entries) { e.Master, e.Family = 1, 6 },
		"in zone 0":           func(e *Entries) { e.Master, e.Zone = 1, 7 },
		"protocol 17 has":     func(e *Entries) { e.State = Established },
		"negative":            func(e *Entries) { e.Count = -1 },
		"is negative":         func(e *Entries) { e.Master = -1 },
		"sources from number": func(e *Entries) { e.FirstSource = maxSources },
		"destinations, there": func(e *Entries) { e.Destinations = maxDestinations + 1 },
		"60001 source ports":  func(e *Entries) { e.Count, e.Destinations = tuplePorts+1, 1 },
		"to fd00::1":          func(e *Entries) { e.SNAT.First = v6 },
		"to 192.0.2.1":        func(e *Entries) { e.Family, e.DNAT = 6, v4 },
		"no ports 9 to 8":     func(e *Entries) { e.SNAT = NATPool{First: v4, Ports: Ports{9, 8}} },
		"no ports 0 to 8":     func(e *Entries) { e.SNAT = NATPool{First: v4, Ports: Ports{0, 8}} },
		"to 9 places": func(e *Entries) {
			e.Destinations, e.SNAT = 1, NATPool{First: v4, Addresses: 3, Ports: Ports{1, 3}}
		},
	} {
		e := udp
		change(&e)
		if _, err := CountTruth(udp, e); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("error %v, want one about %q", err, why)
		}
		if Check(udp) != nil || Check(udp, e) == nil {
			t.Errorf("%s: Check says %v of the good, %v with the bad", why, Check(udp), Check(udp, e))
		}
	}
}

// Not every entry can have children.
func TestMastersRefused(t *testing.T) {
	child := Entries{Count: 10, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Master: 1}
	none, ping := child, child
	none.Count, none.Master = 0, 0
	ping.Proto, ping.Master = unix.IPPROTO_ICMP, 0
	for why, masters := range map[string]Entries{"are none": none, "is ICMP": ping} {
		if err := Check(masters, child); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("error %v, want one about %q", err, why)
		}
	}
}

// The most that can be asked is not refused.
func TestEntriesAtTheirLimits(t *testing.T) {
	e := Entries{
		Count: tuplePorts, Proto: unix.IPPROTO_UDP, Timeout: time.Second, Destinations: 1, FirstSource: maxSources - 1,
		SNAT: NATPool{First: netip.MustParseAddr("192.0.2.1"), Ports: Ports{1, tuplePorts}},
	}
	truth, err := CountTruth(e)
	if err != nil || truth.Entries != tuplePorts {
		t.Errorf("%d entries, %v, want %d", truth.Entries, err, tuplePorts)
	}
	if err := Check(Entries{Proto: unix.IPPROTO_UDP, Timeout: time.Second, Destinations: maxDestinations}); err != nil {
		t.Error(err)
	}
	n := 0
	if err := Each(func(Entry) { n++ }, Entries{Proto: unix.IPPROTO_UDP, Timeout: time.Second}); err != nil || n != 0 {
		t.Errorf("a mix of none: %d, %v", n, err)
	}
}

// Where the number of destinations is free, it leaves ports for other fills.
func TestDestinationsAreEnough(t *testing.T) {
	for count, want := range map[int]int{0: 1, 1: 1, 2 * easyTurns: 1, 2*easyTurns + 1: 2, 9 * easyTurns: 5} {
		e, err := Entries{Count: count, Proto: unix.IPPROTO_UDP, Timeout: time.Second, Sources: 2}.resolved()
		if err != nil || e.Destinations != want {
			t.Errorf("%d entries of two sources: %d destinations, %v, want %d", count, e.Destinations, err, want)
		}
	}
}

// Fills on one gateway share its numbering, and a mix that is refused takes none.
func TestNumberTakesAllOrNothing(t *testing.T) {
	g := new(Gateway)
	udp := Entries{Count: 10, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Destinations: 1}
	if _, err := g.number([]Entries{udp, {Count: 1}}); err == nil || g.filled != (numbering{}) {
		t.Errorf("numbered to %+v, %v, want nothing and an error", g.filled, err)
	}
	for want := range 3 {
		all, err := g.number([]Entries{udp})
		if err != nil || all[0].first.port != 10*want {
			t.Errorf("begins at port %d, %v, want %d", all[0].first.port, err, 10*want)
		}
	}
}
