package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A small mix, counted by hand.
func TestCountTruth(t *testing.T) {
	ip, net := netip.MustParseAddr, netip.MustParsePrefix
	got, err := CountTruth(
		Entries{ // two sources
			Count: 5, Proto: unix.IPPROTO_TCP, State: TimeWait, Assured: true, Timeout: time.Minute, Sources: 2, Destinations: 1,
			SNAT: NATPool{First: ip("203.0.113.1"), Ports: Ports{10, 20}},
		},
		Entries{ // a hog that is one of them
			Count: 4, Proto: unix.IPPROTO_UDP, Timeout: time.Second, FirstSource: 1, Destinations: 2, Ports: []uint16{53},
			DNAT: ip("192.0.2.1"),
		},
		Entries{ // two /64s
			Count: 4, Proto: unix.IPPROTO_ICMPV6, Family: 6, Replied: true, Timeout: time.Second, Zone: 3,
			Sources: 4, PerNet: 3, SNAT: NATPool{First: ip("fd00::1")},
		},
		Entries{Count: 1, Proto: unix.IPPROTO_UDP, Assured: true, Timeout: time.Second},
		Entries{Count: 1, Proto: unix.IPPROTO_ICMP, Timeout: time.Second},
		Entries{Count: 1, Proto: unix.IPPROTO_TCP, State: Closed, Timeout: time.Hour},
		Entries{Count: 1, Proto: unix.IPPROTO_TCP, State: TimeWait, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	a, b, far := ip("198.18.0.0"), ip("198.18.0.1"), ip("2001:db8::1")
	want := Truth{
		Entries: 17, Assured: 6, Unreplied: 7, SNAT: 9, DNAT: 4, IPv6: 4,
		Sources: map[netip.Prefix]int{
			net("10.128.0.0/32"): 3 + 4, net("10.128.0.1/32"): 2 + 4, net("fd81::/64"): 3, net("fd81:0:0:1::/64"): 1,
		},
		Destinations: map[netip.Addr]int{a: 5 + 2 + 4, b: 2, far: 4},
		Services: map[Service]int{
			{a, 443, 6}: 7, {a, 443, 17}: 1, {a, 53, 17}: 2, {b, 53, 17}: 2, {a, 0x800, 1}: 1, {far, 0x8000, 58}: 4,
		},
		Protocols: map[uint8]int{1: 1, 6: 7, 17: 5, 58: 4},
		States:    map[uint8]int{TimeWait: 6, Closed: 1},
		Zones:     map[uint16]int{0: 13, 3: 4},
		Pools:     map[Pool]PortUse{{ip("203.0.113.1"), a, 443, 6}: {5, 10, 14}},
		Classes: map[string]map[time.Duration]int{
			"tcp_timeout_time_wait": {time.Minute: 5, time.Hour: 1}, "tcp_timeout_close": {time.Hour: 1},
			"udp_timeout": {time.Second: 4}, "udp_timeout_stream": {time.Second: 1},
			"icmp_timeout": {time.Second: 1}, "icmpv6_timeout": {time.Second: 4},
		},
	}
	addr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if d := cmp.Diff(want, got, addr); d != "" {
		t.Error(d)
	}
}
