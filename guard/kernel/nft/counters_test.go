package nft

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
)

// Where the lab's server answers, and where packets go that nobody answers.
var (
	labEcho   = netip.MustParseAddrPort("10.80.0.1:7")
	nobody    = netip.MustParseAddrPort("10.79.0.1:9")
	nobodyTCP = netip.MustParseAddrPort("10.79.0.2:9")
)

func newGateway(t testing.TB) *lab.Gateway {
	t.Helper()
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// room holds the machine's max, which others lower for their tests, so that many
// entries fit in.
func room(t testing.TB) {
	t.Helper()
	hold, err := lab.Lower(t.Context(), 262_144)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := hold.Release(); err != nil {
			t.Error(err)
		}
	})
}

// watch counts the packets to an address that reach a namespace.
func watch(t testing.TB, ns string, to netip.Addr) (f *foreign) {
	t.Helper()
	inside(t, ns, func() (err error) { f, err = newForeign("watch", to); return err })
	t.Cleanup(func() { f.lib.CloseLasting() })
	return f
}

// Each connection counts once, for the client and not for the address that
// the gateway gives it: not its second packet, not its replies.
func TestRootCountsForwardedConnections(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	counted(t, mustRead(t, table), 0, 0, map[string]uint64{})

	inside(t, g.Client.Path(), func() error {
		return errors.Join(
			talk(addr("10.77.0.1"), labEcho, 30),
			talk(addr("10.77.0.2"), labEcho, 15),
			talk(addr("10.77.200.3"), labEcho, 5),
			converse(addr("10.77.0.2"), labEcho),
		)
	})
	counted(t, mustRead(t, table), 51, 0, map[string]uint64{
		"10.77.0.1/32": 30, "10.77.0.2/32": 16, "10.77.200.3/32": 5,
	})
}

// Several packets before the first reply are all in state new.
func TestRootCountsUnansweredConnectionsOnce(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	datagrams := watch(t, g.Router.Path(), nobody.Addr())

	inside(t, g.Client.Path(), func() error { return shout(addr("10.77.0.1"), nobody, 10) })
	if n := datagrams.seen(t); n != 30 {
		t.Fatalf("the gateway saw %d packets, want 30", n)
	}
	counted(t, mustRead(t, table), 10, 0, map[string]uint64{"10.77.0.1/32": 10})
}

func TestRootCountsRetransmittedSYNOnce(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	segments := watch(t, g.Router.Path(), nobodyTCP.Addr())

	// The first retransmission comes after a second (RFC 6298).
	err := netns.Do(g.Client.Path(), func() error {
		from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr("10.77.0.1"), 0))
		_, err := (&net.Dialer{LocalAddr: from, Timeout: 1500 * time.Millisecond}).Dial("tcp", nobodyTCP.String())
		return err
	})
	if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("connecting to nobody: %v, want a timeout", err)
	}
	if n := segments.seen(t); n < 2 {
		t.Fatalf("the gateway saw %d SYNs, want a retransmitted one", n)
	}
	counted(t, mustRead(t, table), 1, 0, map[string]uint64{"10.77.0.1/32": 1})
}

// A refused connection is answered by an ICMP error, which belongs to it.
func TestRootCountsRefusedConnectionsOnce(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	closed := netip.AddrPortFrom(labEcho.Addr(), 9)
	inside(t, g.Client.Path(), func() error {
		c, err := udp(netip.AddrPortFrom(addr("10.77.0.1"), 0), closed)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
			return errors.Join(errors.New("not refused"), err)
		}
		return nil
	})
	counted(t, mustRead(t, table), 1, 0, map[string]uint64{"10.77.0.1/32": 1})
}

func TestRootCountsConnectionsOfTheGatewayItself(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	inside(t, g.Router.Path(), func() error { return talk(addr("172.31.2.1"), labEcho, 7) })
	counted(t, mustRead(t, table), 7, 0, map[string]uint64{"172.31.2.1/32": 7})
}

// Packets by the loopback pass output and prerouting.
func TestRootCountsLoopbackOnce(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 5) })
	counted(t, mustRead(t, table), 5, 0, map[string]uint64{"127.0.0.1/32": 5})
}

func TestRootCountsIPv6ByNetwork(t *testing.T) {
	near, far := pair(t,
		[]string{"2001:db8:1::1/64", "2001:db8:2::1/64"},
		[]string{"2001:db8:1::a/64", "2001:db8:1:0:ffff::b/64", "2001:db8:2::c/64"})
	table := installIn(t, near, ordinary)
	one, two := netip.MustParseAddrPort("[2001:db8:1::1]:7"), netip.MustParseAddrPort("[2001:db8:2::1]:7")
	inside(t, near, func() error { return errors.Join(echo(t, one), echo(t, two)) })
	inside(t, far, func() error {
		return errors.Join(
			talk(addr("2001:db8:1::a"), one, 4),
			talk(addr("2001:db8:1:0:ffff::b"), one, 3),
			talk(addr("2001:db8:2::c"), two, 2),
		)
	})
	counted(t, mustRead(t, table), 9, 0, map[string]uint64{"2001:db8:1::/64": 7, "2001:db8:2::/64": 2})
}

// Sources are as long as it was told.
func TestRootCountsByPrefix(t *testing.T) {
	near, far := pair(t,
		[]string{"10.1.0.1/16", "2001:db8:1::1/48"},
		[]string{"10.1.2.3/16", "10.1.2.200/16", "10.1.3.3/16", "2001:db8:1:1::a/48", "2001:db8:1:2::a/48", "2001:db8:1:100::a/48"})
	with := ordinary
	with.bits4, with.bits6 = 24, 56
	table := installIn(t, near, with)
	four, six := netip.MustParseAddrPort("10.1.0.1:7"), netip.MustParseAddrPort("[2001:db8:1::1]:7")
	inside(t, near, func() error { return errors.Join(echo(t, four), echo(t, six)) })
	inside(t, far, func() error {
		return errors.Join(
			talk(addr("10.1.2.3"), four, 4), talk(addr("10.1.2.200"), four, 3), talk(addr("10.1.3.3"), four, 2),
			talk(addr("2001:db8:1:1::a"), six, 6), talk(addr("2001:db8:1:2::a"), six, 5), talk(addr("2001:db8:1:100::a"), six, 1),
		)
	})
	counted(t, mustRead(t, table), 21, 0, map[string]uint64{
		"10.1.2.0/24": 7, "10.1.3.0/24": 2, "2001:db8:1::/56": 11, "2001:db8:1:100::/56": 1,
	})
}

func TestSourcesOfOtherLengths(t *testing.T) {
	for _, tc := range []struct {
		bits4, bits6 int
		want         []int // bits, nil if it is refused
		masks        int
	}{
		{0, 0, []int{32, 64}, 1},
		{32, 128, []int{32, 128}, 0},
		{8, 32, []int{8, 32}, 2},
		{33, 64, nil, 0},
		{32, 129, nil, 0},
		{-1, 64, nil, 0},
	} {
		counted, err := layouts[IPv4|IPv6].by(tc.bits4, tc.bits6)
		if (err == nil) != (tc.want != nil) {
			t.Errorf("%+v: %v", tc, err)
		}
		masks := 0
		for i, f := range counted {
			if tc.want == nil || f.bits != tc.want[i] {
				t.Errorf("%+v: family %d has %d bits", tc, i, f.bits)
			}
			if f.mask != nil {
				masks++
			}
		}
		if err == nil && (masks != tc.masks || len(counted) != 2) {
			t.Errorf("%+v: %d masks of %d families", tc, masks, len(counted))
		}
	}
	if ipv4.bits != 32 || ipv6.bits != 64 {
		t.Error("the usual lengths have changed")
	}
}

// What finds no room is counted all the same, and passes.
func TestRootFullSetLetsPass(t *testing.T) {
	const size = 4
	ns := loopback(t)
	table := installIn(t, ns, settings{families: IPv4 | IPv6, flags: flagOwner, size: size, lapse: setTimeout})
	inside(t, ns, func() error {
		for i := range byte(10) {
			if err := talk(netip.AddrFrom4([4]byte{127, 0, 1, i + 1}), echoPort, 3); err != nil {
				return err
			}
		}
		return talk(addr("127.0.1.1"), echoPort, 1)
	})
	counted(t, mustRead(t, table), 31, 18, map[string]uint64{
		"127.0.1.1/32": 4, "127.0.1.2/32": 3, "127.0.1.3/32": 3, "127.0.1.4/32": 3,
	})
}

// The sets are as large as they say.
func TestRootSetHoldsAllItsSources(t *testing.T) {
	room(t)
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	const more = 100
	if _, err := g.Flood(t.Context(), lab.Flood{Pattern: lab.HalfOpen, Count: setSize + more, Sources: setSize + more}); err != nil {
		t.Fatal(err)
	}
	c := mustRead(t, table)
	if c.New != setSize+more || c.Unlisted != more || len(c.Sources) != setSize {
		t.Errorf("%d new, %d unlisted, %d sources, want %d, %d, %d",
			c.New, c.Unlisted, len(c.Sources), setSize+more, more, setSize)
	}
}

// A source is forgotten a while after its last connection, not its first, and
// makes room.
func TestRootSourcesExpire(t *testing.T) {
	const lapse = time.Second
	ns := loopback(t)
	table := installIn(t, ns, settings{families: IPv4 | IPv6, flags: flagOwner, size: 1, lapse: lapse})
	inside(t, ns, func() error {
		for range 8 {
			if err := talk(addr("127.0.0.1"), echoPort, 1); err != nil {
				return err
			}
			time.Sleep(lapse / 4)
		}
		return nil
	})
	before := mustRead(t, table)
	counted(t, before, 8, 0, map[string]uint64{"127.0.0.1/32": 8})

	for end := time.Now().Add(10 * time.Second); len(mustRead(t, table).Sources) > 0; {
		if time.Now().After(end) {
			t.Fatal("the source is still listed")
		}
		time.Sleep(lapse / 10)
	}
	time.Sleep(2 * lapse) // the kernel frees the room once a second (nft_set_gc_interval)
	inside(t, ns, func() error { return talk(addr("127.0.0.2"), echoPort, 2) })
	counted(t, mustRead(t, table), 10, 0, map[string]uint64{"127.0.0.2/32": 2})
}
