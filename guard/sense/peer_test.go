package sense

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestPeers(t *testing.T) {
	a := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::1", "127.0.0.1", "192.0.2.6")
	sockets := []socket{
		{netlink.TCP_LISTEN, 22, netip.IPv6Unspecified()},
		{netlink.TCP_LISTEN, 8022, netip.IPv4Unspecified()},
		{netlink.TCP_LISTEN, 80, netip.IPv4Unspecified()},
		{netlink.TCP_ESTABLISHED, 22, a[0]},
		{netlink.TCP_ESTABLISHED, 8022, a[1]},
		{netlink.TCP_ESTABLISHED, 80, a[2]},    // of a port that no operator uses
		{netlink.TCP_ESTABLISHED, 40000, a[3]}, // made by the gateway
		{netlink.TCP_SYN_RECV, 22, a[4]},
		{netlink.TCP_TIME_WAIT, 22, a[4]},
		{netlink.TCP_ESTABLISHED, 22, a[5]},
		{netlink.TCP_ESTABLISHED, 22, a[6]},   // itself
		{netlink.TCP_ESTABLISHED, 8023, a[7]}, // made by the gateway, from a port of the range
	}
	ports := []policy.Ports{{Low: 22, High: 22}, {Low: 8000, High: 8100}}
	if got, want := peersOf(sockets, ports), []netip.Addr{a[0], a[1], a[5]}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPortsOfOperators(t *testing.T) {
	var c policy.Config
	c.Bypass = []policy.Flow{
		{Lifeline: true, Ports: []policy.Ports{{Low: 2222, High: 2222}}},
		{Ports: []policy.Ports{{Low: 53, High: 53}}},
	}
	ports := portsOf(&c)
	for port, want := range map[uint16]bool{22: true, 2222: true, 53: false, 0: false, 23: false} {
		if within(ports, port) != want {
			t.Errorf("port %d: %t", port, !want)
		}
	}
}

// Those who come from many addresses push out no one who is connected.
func TestPeersAreNotRememberedWithoutEnd(t *testing.T) {
	p := seenPeers{}
	stays := addrs("192.0.2.1", "2001:db8::1")
	for round := range 20 {
		connected := slices.Clone(stays)
		for i := range 100 {
			connected = append(connected, netip.AddrFrom4([4]byte{10, 0, byte(round), byte(i)}))
		}
		p.see(time.Duration(round+1)*time.Second, connected)
	}
	list := p.list()
	if len(list) != maxPeers {
		t.Errorf("%d remembered", len(list))
	}
	for _, addr := range append(stays, addrs("10.0.19.99", "10.0.10.0")...) {
		if !slices.Contains(list, netip.PrefixFrom(addr, addr.BitLen())) {
			t.Errorf("%s is forgotten", addr)
		}
	}
	if slices.Contains(list, netip.MustParsePrefix("10.0.0.1/32")) {
		t.Error("the first of them is remembered")
	}
}
