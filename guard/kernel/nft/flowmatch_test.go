package nft

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFlowHas(t *testing.T) {
	prefixes := func(list ...string) (all []netip.Prefix) {
		for _, p := range list {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	web := Flow{
		From: prefixes("10.0.0.0/8", "fd77::/48"), To: prefixes("192.0.2.0/24", "fd80::/64"), Proto: unix.IPPROTO_TCP,
		Ports: []Ports{{80, 80}, {8000, 8100}},
	}
	ping := Flow{From: prefixes("10.0.0.0/8"), To: prefixes("0.0.0.0/0"), Proto: unix.IPPROTO_ICMP}
	ssh := Flow{From: prefixes("10.0.0.0/8"), Proto: unix.IPPROTO_TCP, Ports: []Ports{{22, 22}}, Local: true}
	for _, tc := range []struct {
		name     string
		flow     Flow
		proto    uint8
		from, to string
		want     bool
	}{
		{"there", web, 6, "10.0.0.5:40000", "192.0.2.1:80", true},
		{"back", web, 6, "192.0.2.1:8100", "10.0.0.5:40000", true},
		{"the range begins", web, 6, "10.0.0.5:40000", "192.0.2.1:8000", true},
		{"between the ranges", web, 6, "10.0.0.5:40000", "192.0.2.1:7999", false},
		{"beyond the range", web, 6, "10.0.0.5:40000", "192.0.2.1:8101", false},
		{"by IPv6", web, 6, "[fd77::5]:40000", "[fd80::1]:80", true},
		{"another protocol", web, 17, "10.0.0.5:40000", "192.0.2.1:80", false},
		{"another client", web, 6, "11.0.0.5:40000", "192.0.2.1:80", false},
		{"another server", web, 6, "10.0.0.5:40000", "192.0.3.1:80", false},
		{"the port at the client", web, 6, "10.0.0.5:80", "192.0.2.1:40000", false},
		{"the wrong way round", web, 6, "192.0.2.1:40000", "10.0.0.5:80", false},
		{"without ports", ping, 1, "10.0.0.5:0", "192.0.2.1:0", true},
		{"to the gateway", ssh, 6, "10.0.0.5:40000", "10.77.0.1:22", true},
		{"from the gateway", ssh, 6, "10.77.0.1:22", "10.0.0.5:40000", true},
		{"through the gateway", ssh, 6, "10.0.0.5:40000", "192.0.2.1:22", false},
		{"to the gateway from elsewhere", ssh, 6, "192.0.2.1:40000", "10.77.0.1:22", false},
		{"from the gateway's client", ssh, 6, "10.77.0.1:40000", "10.0.0.5:22", false},
	} {
		asked := false
		got := tc.flow.Has(tc.proto, netip.MustParseAddrPort(tc.from), netip.MustParseAddrPort(tc.to), func(a netip.Addr) bool {
			asked = true
			return a == netip.MustParseAddr("10.77.0.1")
		})
		if got != tc.want || asked && !tc.flow.Local {
			t.Errorf("%s: %v, asked what is local: %v", tc.name, got, asked)
		}
	}
}
