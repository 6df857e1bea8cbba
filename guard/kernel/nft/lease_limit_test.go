package nft

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A limited source gets its burst and no more at once; what is refused leaves no
// entry, is counted for its source and was counted as new before. Others pass.
func TestRootLimit(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	l := openIn(t, g.Router.Path(), ordinaryLeases)
	terms := Terms{Rate: 1, Burst: 20, IPv4Bits: 32, IPv6Bits: 64}
	hold(t, l, terms, time.Minute, limit("10.77.0.1/32"), limit("10.77.0.3/32"))
	inside(t, g.Client.Path(), func() error {
		return errors.Join(shoutOnce(addr("10.77.0.1"), nobody, 200), shoutOnce(addr("10.77.0.2"), nobody, 100))
	})
	n := settled(t, g.Router.Path())
	if n < 120 || n > 123 { // the rate lets one in a second more pass
		t.Errorf("%d entries, want 20 and 100", n)
	}
	holds(t, l, map[string]uint64{"limit 10.77.0.1/32": uint64(300 - n), "limit 10.77.0.3/32": 0})
	counted(t, mustRead(t, table), 300, 0, map[string]uint64{"10.77.0.1/32": 200, "10.77.0.2/32": 100})
}

// Sources are what the terms' prefixes make them, of either family.
func TestRootLimitByPrefix(t *testing.T) {
	for _, tc := range []struct {
		bits4, bits6          int
		to                    string
		limited               string
		within, other, beyond string
	}{
		{32, 64, "[2001:db8::1]:7", "2001:db8:0:7::/64", "2001:db8:0:7::a", "2001:db8:0:7:ffff::b", "2001:db8:0:8::a"},
		{32, 128, "[2001:db8::1]:7", "2001:db8:0:7::a/128", "2001:db8:0:7::a", "2001:db8:0:7::a", "2001:db8:0:7:ffff::b"},
		{32, 60, "[2001:db8::1]:7", "2001:db8::/60", "2001:db8:0:7::a", "2001:db8:0:8::a", "2001:db8:0:10::a"},
		{24, 64, "192.0.2.1:7", "192.0.2.0/24", "192.0.2.10", "192.0.2.11", "198.51.100.10"},
		{31, 64, "192.0.2.1:7", "192.0.2.10/31", "192.0.2.10", "192.0.2.11", "192.0.2.12"},
	} {
		t.Run(tc.limited, func(t *testing.T) {
			near, far := pair(t, []string{"192.0.2.1/16", "2001:db8::1/48", "198.51.100.1/24"}, []string{
				"192.0.2.10/16", "192.0.2.11/16", "192.0.2.12/16", "198.51.100.10/24",
				"2001:db8:0:7::a/48", "2001:db8:0:7:ffff::b/48", "2001:db8:0:8::a/48", "2001:db8:0:10::a/48",
			})
			to := netip.MustParseAddrPort(tc.to)
			inside(t, near, func() error { return echo(t, to) })
			inside(t, far, func() error { // until the link carries, and the neighbours are known
				return errors.Join(talk(addr(tc.within), to, 1), talk(addr(tc.other), to, 1), talk(addr(tc.beyond), to, 1))
			})
			l := openIn(t, near, ordinaryLeases)
			hold(t, l, Terms{Rate: 1, Burst: 5, IPv4Bits: tc.bits4, IPv6Bits: tc.bits6}, time.Minute, limit(tc.limited))
			inside(t, far, func() error {
				return errors.Join(
					shoutOnce(addr(tc.within), to, 20), shoutOnce(addr(tc.other), to, 20), shoutOnce(addr(tc.beyond), to, 30))
			})
			n := settled(t, near)
			if n < 35 || n > 37 {
				t.Errorf("%d entries, want 5 and 30", n)
			}
			holds(t, l, map[string]uint64{"limit " + tc.limited: uint64(70 - n)})
		})
	}
}

// What was begun before goes on, answered or not, and so does what was let pass.
func TestRootLimitSparesWhatIsTracked(t *testing.T) {
	g := newGateway(t)
	l := openIn(t, g.Router.Path(), ordinaryLeases)
	datagrams := watch(t, g.Server.Path(), nobody.Addr())
	from := netip.AddrPortFrom(addr("10.77.0.1"), 0)
	dial := func(to netip.AddrPort) (c *net.UDPConn) {
		inside(t, g.Client.Path(), func() (err error) { c, err = udp(from, to); return err })
		t.Cleanup(func() { c.Close() })
		return c
	}
	send := func(c *net.UDPConn) {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(c *net.UDPConn) error { _, err := c.Read(make([]byte, 1)); return err }

	answered, unanswered := dial(labEcho), dial(nobody)
	send(answered)
	send(unanswered)
	if err := hear(answered); err != nil {
		t.Fatal(err)
	}
	terms := Terms{Rate: 1, Burst: 1, IPv4Bits: 32, IPv6Bits: 64}
	hold(t, l, terms, time.Minute, limit("10.77.0.1/32"))
	passed := dial(labEcho)
	send(passed) // takes the burst
	inside(t, g.Client.Path(), func() error { return shoutOnce(from.Addr(), nobodyTCP, 10) })

	for range 50 {
		send(answered)
		send(unanswered)
		send(passed)
		if err := errors.Join(hear(answered), hear(passed)); err != nil {
			t.Fatal(err)
		}
	}
	if n := datagrams.seen(t); n != 51 {
		t.Errorf("%d of 51 datagrams of an unanswered connection came through", n)
	}
	refused := dial(labEcho)
	send(refused)
	_ = refused.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if err := hear(refused); err == nil {
		t.Error("a connection beyond the limit was answered")
	}
}

// So many new connections a second pass, beside the burst.
func TestRootLimitRate(t *testing.T) {
	const rate, burst, runs, each = 100, 10, 40, 20
	g := newGateway(t)
	l := openIn(t, g.Router.Path(), ordinaryLeases)
	hold(t, l, Terms{Rate: rate, Burst: burst, IPv4Bits: 32, IPv6Bits: 64}, time.Minute, limit("10.77.0.1/32"))
	start := time.Now()
	inside(t, g.Client.Path(), func() error {
		for range runs { // 400 a second
			if err := shoutOnce(addr("10.77.0.1"), nobody, each); err != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	})
	want := burst + rate*time.Since(start).Seconds()
	if n := float64(settled(t, g.Router.Path())); n > want+1 || n < 0.8*want {
		t.Errorf("%.0f connections passed, want %.0f", n, want)
	}
}
