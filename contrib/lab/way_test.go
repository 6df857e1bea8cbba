package lab

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWay(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tc := range []struct {
		w        Way
		n        int
		from, to string
	}{
		{Way{}, 0, "10.77.0.1/32", "10.80.0.1:7"},
		{Way{}, 65_017, "10.77.0.18/32", "10.80.0.10:7"},
		{Way{Addresses: 200}, 399, "10.77.0.200/32", "10.80.0.16:7"},
		{Way{From: addr("10.77.9.9")}, 5, "10.77.9.9/32", "10.80.0.6:7"},
		{Way{To: netip.AddrPortFrom(LAN, 22)}, 1, "10.77.0.2/32", "172.31.1.1:22"},
		{Way{IPv6: true}, 1, "fd77:0:0:2::/64", "[fd80::2]:7"},
		{Way{From: addr("fd77:0:0:5::1"), Addresses: 2}, 3, "fd77:0:0:6::/64", "[fd80::4]:7"},
		{Way{To: netip.AddrPortFrom(LAN6, 22)}, 0, "fd77:0:0:1::/64", "[fd70:0:0:1::1]:22"},
	} {
		from, err := tc.w.Source(tc.n)
		if err != nil {
			t.Errorf("%+v: %v", tc.w, err)
			continue
		}
		w, _ := tc.w.resolved()
		if to := w.to(uint32(tc.n)); from.String() != tc.from || to.String() != tc.to || !from.Contains(w.from(uint32(tc.n))) {
			t.Errorf("%+v: %d from %s to %s, want %s to %s", tc.w, tc.n, from, to, tc.from, tc.to)
		}
	}
	for what, w := range map[string]Way{
		"negative":         {Addresses: -1},
		"too many":         {Addresses: 65_001},
		"beyond the net":   {From: addr("10.77.255.255"), Addresses: 2},
		"where floods are": {From: addr("10.78.0.1")},
		"two families":     {From: addr("10.77.0.1"), To: netip.AddrPortFrom(LAN6, 22)},
		"another family":   {From: addr("10.77.0.1"), IPv6: true},
	} {
		if w, err := w.resolved(); err == nil {
			t.Errorf("%s: no error but %+v", what, w)
		}
	}
}

// Clients take turns, and what they do is tracked as theirs.
func TestRootClientsGoTheirWay(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{IPv6: true})
	for what, way := range map[string]Way{
		"IPv4": {From: netip.MustParseAddr("10.77.3.1"), Addresses: 20},
		"IPv6": {Addresses: 20, IPv6: true},
	} {
		t.Run(what, func(t *testing.T) {
			l := g.StartClients(t.Context(), Clients{TCP: 200, UDP: 100, Way: way})
			time.Sleep(500 * time.Millisecond)
			r, err := l.Stop()
			if err != nil || r.TCP.Attempted < 40 || r.UDP.Attempted < 20 || r.TCP.Failed+r.UDP.Failed != 0 {
				t.Fatalf("%+v, %v, want a hundred and fifty attempts and none failed", r, err)
			}
			got := map[netip.Addr]int{}
			for _, e := range entries(t, g) {
				got[e.TupleOrig.IP.SourceAddress]++
			}
			want := map[netip.Addr]int{}
			for n := range r.TCP.Attempted + r.UDP.Attempted {
				p, err := way.Source(n)
				if err != nil {
					t.Fatal(err)
				}
				a := p.Addr()
				if way.IPv6 {
					a = a.Next() // ::1 of its /64
				}
				want[a]++
			}
			maps.DeleteFunc(got, func(a netip.Addr, _ int) bool { return a.Is6() != way.IPv6 })
			if len(want) != 20 || !maps.Equal(got, want) {
				t.Errorf("entries by source: %v, want %v", got, want)
			}
		})
	}
}

// An operator gets to the gateway itself, and not where nothing listens.
func TestRootTryTheGateway(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{IPv6: true})
	if err := g.Serve(22); err != nil {
		t.Fatal(err)
	}
	for _, at := range []netip.Addr{LAN, LAN6, wanAddr.Addr(), wanAddr6.Addr()} {
		took, err := g.Try(t.Context(), Way{To: netip.AddrPortFrom(at, 22)})
		if err != nil || took <= 0 || took > time.Second {
			t.Errorf("%s: %s, %v", at, took, err)
		}
		if _, err := g.Try(t.Context(), Way{To: netip.AddrPortFrom(at, 23)}); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want it refused", at, err)
		}
	}
	c, err := g.ConnectBy(t.Context(), 3, Way{From: netip.MustParseAddr("10.77.0.9"), To: netip.AddrPortFrom(LAN, 22)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Sources() {
		if s.Addr() != netip.MustParseAddr("10.77.0.9") {
			t.Errorf("a connection from %s", s)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Serve(22); err == nil {
		t.Error("a port is served twice")
	}
}

// IPv6 has to be asked for.
func TestRootNoIPv6(t *testing.T) {
	g := newTestGateway(t, Options{})
	way := Way{IPv6: true}
	_, tried := g.Try(t.Context(), way)
	_, connected := g.ConnectBy(t.Context(), 1, way)
	_, flooded := g.Flood(t.Context(), Flood{Pattern: UDP, Count: 1, IPv6: true})
	_, loaded := g.StartClients(t.Context(), Clients{TCP: 1, Way: way}).Stop()
	for what, err := range map[string]error{"Try": tried, "ConnectBy": connected, "Flood": flooded, "StartClients": loaded} {
		if !errors.Is(err, errNoIPv6) {
			t.Errorf("%s: %v, want %v", what, err, errNoIPv6)
		}
	}
}

// Who listens in the gateway keeps its namespace.
func TestRootServeEndsWithTheGateway(t *testing.T) {
	g, err := NewGateway(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Serve(22), g.Close()); err != nil {
		t.Fatal(err)
	}
	for _, s := range g.echo {
		if err := s.tcp.(*net.TCPListener).SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v, want it closed", s.tcp.Addr(), err)
		}
	}
	if len(g.echo) != 2 {
		t.Errorf("%d servers, want two", len(g.echo))
	}
}
