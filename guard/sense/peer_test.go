package sense

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestConnections(t *testing.T) {
	a := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::1", "127.0.0.1", "192.0.2.6")
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(a[i], uint16(5000+i)) }
	listening := netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	sockets := []socket{
		{netlink.TCP_LISTEN, 22, listening},
		{netlink.TCP_LISTEN, 8022, listening},
		{netlink.TCP_LISTEN, 80, listening},
		{netlink.TCP_ESTABLISHED, 22, at(0)},
		{netlink.TCP_ESTABLISHED, 8022, at(1)},
		{netlink.TCP_ESTABLISHED, 80, at(2)},    // of a port that no operator uses
		{netlink.TCP_ESTABLISHED, 40000, at(3)}, // made by the gateway
		{netlink.TCP_SYN_RECV, 22, at(4)},
		{netlink.TCP_TIME_WAIT, 22, at(4)},
		{netlink.TCP_ESTABLISHED, 22, at(5)},
		{netlink.TCP_ESTABLISHED, 22, at(6)},   // itself
		{netlink.TCP_ESTABLISHED, 8023, at(7)}, // made by the gateway, from a port of the range
	}
	ports := []policy.Ports{{Low: 22, High: 22}, {Low: 8000, High: 8100}}
	want := []connection{{22, at(0)}, {8022, at(1)}, {22, at(5)}}
	if got := connectionsTo(ports, sockets); !slices.Equal(got, want) {
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
