package nft

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// A dropped source is not heard, in no connection, and each of its packets counts.
func TestRootDrop(t *testing.T) {
	g := newGateway(t)
	l := openIn(t, g.Router.Path(), ordinaryLeases)
	var old *net.UDPConn
	inside(t, g.Client.Path(), func() (err error) {
		old, err = udp(netip.MustParseAddrPort("10.77.0.1:0"), labEcho)
		if err == nil {
			t.Cleanup(func() { old.Close() })
			err = errors.Join(talk(addr("10.77.0.1"), labEcho, 1), say(old))
		}
		return err
	})
	before := settled(t, g.Router.Path())
	hold(t, l, someTerms(), time.Minute, drop("10.77.0.1/32"))
	if say(old) == nil {
		t.Error("a dropped source was answered")
	}
	inside(t, g.Client.Path(), func() error {
		return errors.Join(shoutOnce(addr("10.77.0.1"), nobody, 10), talk(addr("10.77.0.2"), labEcho, 1))
	})
	if n := settled(t, g.Router.Path()); n != before+1 {
		t.Errorf("%d entries of a dropped source", n-before-1)
	}
	holds(t, l, map[string]uint64{"drop 10.77.0.1/32": 11})
	if err := l.End(drop("10.77.0.1/32").Lease); err != nil {
		t.Fatal(err)
	}
	if err := say(old); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// say sends something and waits a little for its echo.
func say(c *net.UDPConn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// IPv6 is dropped by the prefix, and nothing makes the kernel track it.
func TestRootDropIPv6(t *testing.T) {
	near, far := pair(t, []string{"2001:db8::1/48"}, []string{"2001:db8:0:7::a/48", "2001:db8:0:7:1::b/48", "2001:db8:0:8::a/48"})
	to := netip.MustParseAddrPort("[2001:db8::1]:7")
	inside(t, near, func() error { return echo(t, to) })
	l := openIn(t, near, ordinaryLeases)
	// Without neighbour discovery of the dropped there would be no packets.
	inside(t, far, func() error {
		return errors.Join(talk(addr("2001:db8:0:7::a"), to, 1), talk(addr("2001:db8:0:7:1::b"), to, 1))
	})
	hold(t, l, someTerms(), time.Minute, drop("2001:db8:0:7::/64"))
	inside(t, far, func() error {
		return errors.Join(
			shoutOnce(addr("2001:db8:0:7::a"), to, 5), shoutOnce(addr("2001:db8:0:7:1::b"), to, 6),
			talk(addr("2001:db8:0:8::a"), to, 3))
	})
	for _, h := range readLeases(t, l) {
		if h.Lease != drop("2001:db8:0:7::/64").Lease || h.Refused < 11 { // neighbour discovery counts as well
			t.Errorf("%s refused %d, want 11 at least", h.Lease, h.Refused)
		}
	}
	if n := settled(t, near); n != 0 {
		t.Errorf("%d entries where nothing was tracked", n)
	}
}

// echoFlow is what the clients of 10.77.0.0/16 say to the lab's server, and hear.
func echoFlow() Flow {
	return Flow{
		Name: "echo", From: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")},
		To: []netip.Prefix{netip.MustParsePrefix("10.80.0.0/24")}, Proto: unix.IPPROTO_UDP, Ports: []Ports{{5, 9}},
	}
}

// routed makes a gateway that tracks, but does not translate.
func routed(t *testing.T) (router, client, server string) {
	t.Helper()
	g := newGateway(t)
	inside(t, g.Router.Path(), func() error {
		netnstest.Track(t)
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyIPv4})
		return c.Flush()
	})
	inside(t, g.Server.Path(), func() error {
		_, clients, err := net.ParseCIDR("10.77.0.0/16")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: clients, Gw: net.IPv4(172, 31, 2, 1)})
	})
	return g.Router.Path(), g.Client.Path(), g.Server.Path()
}

// A flow leaves no entries while it is leased, its answers neither, and others of
// the same hosts do; later it is tracked again.
func TestRootBypass(t *testing.T) {
	router, client, _ := routed(t)
	l := openIn(t, router, ordinaryLeases)
	terms := someTerms()
	terms.Flows = []Flow{{Name: "first", From: echoFlow().From, To: echoFlow().To, Proto: unix.IPPROTO_TCP}, echoFlow()}
	said := func(from string, n int) {
		inside(t, client, func() error { return talk(addr(from), labEcho, n) })
	}
	said("10.77.0.1", 2)
	if n := settled(t, router); n != 2 {
		t.Fatalf("%d entries before, want 2", n)
	}
	hold(t, l, terms, time.Minute, bypass("echo"))
	said("10.77.0.1", 20)
	if n := settled(t, router); n != 2 {
		t.Errorf("%d entries of a flow that bypasses tracking", n-2)
	}
	inside(t, client, func() error { return converse(addr("10.77.0.1"), labEcho) }) // not leased
	if n := settled(t, router); n != 3 {
		t.Errorf("%d entries of another flow, want 1", n-2)
	}
	holds(t, l, map[string]uint64{"bypass echo": 0})
	if err := l.End(bypass("echo").Lease); err != nil {
		t.Fatal(err)
	}
	said("10.77.0.1", 4)
	if n := settled(t, router); n != 7 {
		t.Errorf("%d entries after the end, want 4", n-3)
	}
}

// What the gateway itself says bypasses as well.
func TestRootBypassOfOwn(t *testing.T) {
	router, _, _ := routed(t)
	l := openIn(t, router, ordinaryLeases)
	flow := echoFlow()
	flow.From = []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16")}
	terms := someTerms()
	terms.Flows = []Flow{flow}
	hold(t, l, terms, time.Minute, bypass("echo"))
	inside(t, router, func() error { return talk(addr("172.31.2.1"), labEcho, 5) })
	if n := settled(t, router); n != 0 {
		t.Errorf("%d entries of a flow that bypasses tracking", n)
	}
	if err := l.End(bypass("echo").Lease); err != nil {
		t.Fatal(err)
	}
	inside(t, router, func() error { return talk(addr("172.31.2.1"), labEcho, 5) })
	if n := settled(t, router); n != 5 {
		t.Errorf("%d entries after the end, want 5", n)
	}
}

// A bypass of IPv6 by ports and prefixes, with one of either family in one flow.
func TestRootBypassOfBothFamilies(t *testing.T) {
	near, far := pair(t, []string{"192.0.2.1/24", "2001:db8::1/48"}, []string{"192.0.2.10/24", "2001:db8::a/48", "2001:db8:0:1::a/48"})
	to4, to6, high6 := netip.MustParseAddrPort("192.0.2.1:7"), netip.MustParseAddrPort("[2001:db8::1]:7"), netip.MustParseAddrPort("[2001:db8::1]:70")
	inside(t, near, func() error { return errors.Join(echo(t, to4), echo(t, to6), echo(t, high6)) })
	installIn(t, near, ordinary) // has both tracked
	l := openIn(t, near, ordinaryLeases)
	p := netip.MustParsePrefix
	terms := someTerms()
	terms.Flows = []Flow{{
		Name: "both", From: []netip.Prefix{p("192.0.2.0/24"), p("2001:db8::/64")},
		To: []netip.Prefix{p("0.0.0.0/0"), p("2001:db8::1/128")}, Proto: unix.IPPROTO_UDP, Ports: []Ports{{7, 7}, {65535, 65535}},
	}}
	hold(t, l, terms, time.Minute, bypass("both"))
	inside(t, far, func() error {
		return errors.Join(talk(addr("192.0.2.10"), to4, 3), talk(addr("2001:db8::a"), to6, 4))
	})
	if n := settled(t, near); n != 0 {
		t.Errorf("%d entries of a flow that bypasses tracking", n)
	}
	inside(t, far, func() error {
		return errors.Join(talk(addr("2001:db8:0:1::a"), to6, 5), talk(addr("2001:db8::a"), high6, 6))
	})
	if n := settled(t, near); n != 11 {
		t.Errorf("%d entries of what is not of the flow, want 11", n)
	}
}

// The way to the gateway itself bypasses; the same to what is behind it does not, be
// it forwarded in or out.
func TestRootLifeline(t *testing.T) {
	router, client, server := routed(t)
	own := netip.MustParseAddrPort("172.31.1.1:7")
	behind := netip.MustParseAddrPort("10.77.0.9:7")
	inside(t, router, func() error { return errors.Join(echoTCP(t, own), echoTCP(t, netip.MustParseAddrPort("172.31.2.1:8"))) })
	inside(t, client, func() error { return echoTCP(t, behind) })
	l := openIn(t, router, ordinaryLeases)
	terms := someTerms()
	terms.Flows = []Flow{{
		Name: "way-in", From: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("10.80.0.0/16")},
		Proto: unix.IPPROTO_TCP, Ports: []Ports{{7, 7}}, Local: true,
	}}
	// A connection that is only half tracked leaves an entry; one datagram can't.
	datagrams := terms.Flows[0]
	datagrams.Name, datagrams.Proto, datagrams.Ports = "datagrams", unix.IPPROTO_UDP, []Ports{{9, 9}}
	terms.Flows = append(terms.Flows, datagrams)
	hold(t, l, terms, time.Minute, bypass("way-in"), bypass("datagrams"))
	for _, tc := range []struct {
		name, from string
		in         string
		to         netip.AddrPort
		tracked    int
	}{
		{"to the gateway", "10.77.0.1", client, own, 0},
		{"to the gateway on another port", "10.77.0.1", client, netip.MustParseAddrPort("172.31.2.1:8"), 1},
		{"from elsewhere", "172.31.1.2", client, own, 1},
		{"through the gateway", "10.77.0.1", client, labEcho, 1},
		{"through the gateway, the other way", "10.80.0.1", server, behind, 1},
	} {
		before := settled(t, router)
		inside(t, tc.in, func() error { return converse(addr(tc.from), tc.to) })
		if n := settled(t, router) - before; n != tc.tracked {
			t.Errorf("%s: %d entries, want %d", tc.name, n, tc.tracked)
		}
	}
	before := settled(t, router)
	inside(t, client, func() error { return shoutOnce(addr("10.77.0.1"), nobody, 5) })
	if n := settled(t, router) - before; n != 5 {
		t.Errorf("%d entries of 5 datagrams through the gateway", n)
	}
	inside(t, client, func() error { return shoutOnce(addr("10.77.0.1"), netip.MustParseAddrPort("172.31.2.1:9"), 5) })
	if n := settled(t, router) - before; n != 5 {
		t.Errorf("%d entries of 5 datagrams to the gateway", n-5)
	}
}

// echoTCP answers TCP in the calling thread's namespace until the test ends.
func echoTCP(t testing.TB, at netip.AddrPort) error {
	ln, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	return nil
}

// Nothing of what is done before tracking makes the kernel track.
func TestRootRawTracksNothing(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	terms := someTerms()
	terms.Flows = []Flow{echoFlow()}
	hold(t, l, terms, time.Minute, drop("192.0.2.1/32"), drop("2001:db8::/64"), bypass("echo"))
	inside(t, ns, func() error { return talk(echoPort.Addr(), echoPort, 3) })
	if n := settled(t, ns); n != 0 {
		t.Errorf("%d entries", n)
	}
	hold(t, l, terms, time.Minute, limit("2001:db8::/64")) // tracks IPv6
	inside(t, ns, func() error { return talk(echoPort.Addr(), echoPort, 3) })
	if n := settled(t, ns); n != 0 {
		t.Errorf("%d entries of IPv4 with a limit of IPv6", n)
	}
}
