package nft

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// refuses waits until a lease has refused so many packets: they may take their time.
func refuses(t *testing.T, l *Leases, of Request, want uint64) {
	t.Helper()
	var got uint64
	for range 100 {
		for _, h := range readLeases(t, l) {
			if h.Lease == of.Lease {
				got = h.Refused
			}
		}
		if got >= want {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got != want {
		t.Fatalf("%s: %d refused, want %d", of.Lease, got, want)
	}
}

// What a lease refused goes with it when it is ended, and no other's does: a source that
// is leased again begins at 0.
func TestRootEndForgetsWhatWasRefused(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	one, two, quiet := drop("127.0.0.2/32"), drop("127.0.0.3/32"), drop("127.0.0.4/32")
	hold(t, l, someTerms(), time.Minute, one, two, quiet)
	to := netip.MustParseAddrPort("127.0.0.1:9")
	inside(t, ns, func() error { return shoutOnce(one.Source.Addr(), to, 5) })
	inside(t, ns, func() error { return shoutOnce(two.Source.Addr(), to, 7) })
	refuses(t, l, one, 5)
	refuses(t, l, two, 7)

	if err := l.End(one.Lease, quiet.Lease); err != nil {
		t.Fatal(err)
	}
	holds(t, l, map[string]uint64{two.Lease.String(): 7})
	hold(t, l, someTerms(), time.Minute, one, two, quiet)
	holds(t, l, map[string]uint64{one.Lease.String(): 0, two.Lease.String(): 7, quiet.Lease.String(): 0})
}

// One lease that is gone already does not keep the others from being ended.
func TestRootEndOfManyWithoutOne(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, plainLeases)
	var all []Request
	for _, source := range []string{"10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"} {
		all = append(all, limit(source))
	}
	hold(t, l, someTerms(), time.Minute, all...)
	inside(t, ns, func() error { return EndLeft(all[1].Lease) }) // as another process may
	if err := l.End(all[0].Lease, all[1].Lease, all[2].Lease); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(textOf(all[3:]), heldText(t, ns)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A lease that has lapsed keeps no table: the last one in force takes it along.
func TestRootEndBesideALapsedOne(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	lapses, stays := limit("10.0.0.1/32"), limit("10.0.0.2/32")
	hold(t, l, someTerms(), time.Minute, stays)
	hold(t, l, someTerms(), time.Second, lapses)
	time.Sleep(1100 * time.Millisecond)
	if err := l.End(stays.Lease); err != nil {
		t.Fatal(err)
	}
	if left := tablesIn(t, ns); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
