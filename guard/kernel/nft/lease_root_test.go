package nft

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// ordinaryLeases are the settings of OpenLeases, plainLeases those of a kernel that
// does not know the owner.
var (
	ordinaryLeases = leaseSettings{flags: flagOwner, size: leaseSize, refused: refusedSize, forget: forget}
	plainLeases    = leaseSettings{flags: unknownFlag, size: leaseSize, refused: refusedSize, forget: forget}
)

// someTerms are as good as any.
func someTerms() Terms { return Terms{Rate: 10, Burst: 20, IPv4Bits: 32, IPv6Bits: 64} }

// openIn opens leases in a namespace until the test ends.
func openIn(t testing.TB, ns string, with leaseSettings) (l *Leases) {
	t.Helper()
	shareMax(t)
	inside(t, ns, func() (err error) { l, err = openLeases(with); return err })
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// shareMax keeps those away who change the machine's max, which entries would not fit
// in, until the test ends.
func shareMax(t testing.TB) {
	t.Helper()
	release, err := lab.ShareMax()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
}

func limit(source string) Request {
	return Request{Lease{Kind: Limit, Source: netip.MustParsePrefix(source)}, "limited by a test"}
}

func drop(source string) Request {
	return Request{Lease{Kind: Drop, Source: netip.MustParsePrefix(source)}, "dropped by a test"}
}

func bypass(flow string) Request {
	return Request{Lease{Kind: Bypass, Flow: flow}, "untracked by a test"}
}

// hold holds leases and asserts that nothing had to be made again.
func hold(t testing.TB, l *Leases, terms Terms, lease time.Duration, of ...Request) {
	t.Helper()
	if remade, err := l.Hold(terms, lease, of...); err != nil || len(remade) > 0 {
		t.Fatalf("remade %q, %v", remade, err)
	}
}

func readLeases(t testing.TB, l *Leases) []Held {
	t.Helper()
	all, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// holds asserts which leases are in force, and what each refused.
func holds(t testing.TB, l *Leases, want map[string]uint64) {
	t.Helper()
	got := map[string]uint64{}
	for _, h := range readLeases(t, l) {
		got[h.Lease.String()] = h.Refused
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}

// shoutOnce makes n connections of one datagram each that nobody answers.
func shoutOnce(from netip.Addr, to netip.AddrPort, n int) error {
	for range n {
		c, err := udp(netip.AddrPortFrom(from, 0), to)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
	}
	return nil
}

// settled is the number of entries once it has not changed for a while: on a busy
// machine packets come through after their sender is done.
func settled(t *testing.T, ns string) (n int) {
	t.Helper()
	for same := 0; same < 5; same++ {
		if now := entries(t, ns); now != n {
			n, same = now, 0
		}
		time.Sleep(10 * time.Millisecond)
	}
	return n
}
