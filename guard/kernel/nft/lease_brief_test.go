package nft

import (
	"net/netip"
	"testing"
	"time"
)

// Leases that are about to end when their table is made again end all the same, however
// little they have left: none is there for ever.
func TestRootLeasesMadeAgainEnd(t *testing.T) {
	const spread, step = time.Second, 250 * time.Microsecond
	ns := loopback(t)
	l := openIn(t, ns, plainLeases)
	stays := limit("192.0.2.1/32")
	hold(t, l, someTerms(), time.Minute, stays)
	table := l.tables[0]
	if err := table.socket.remove(table.made); err != nil {
		t.Fatal(err)
	}
	now, err := sinceBoot()
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("10.0.0.1")
	for left := step; left <= spread; left += step {
		r := limit(netip.PrefixFrom(a, 32).String())
		table.held[r.Lease] = holding{r.Text, time.Minute, now + left}
		a = a.Next()
	}
	remade, err := l.Hold(someTerms(), time.Minute, stays)
	if err != nil || len(remade) != 1 {
		t.Fatalf("remade %q, %v", remade, err)
	}
	again := len(table.held) - 1
	if all := int(spread / step); again < all/10 || again == all {
		t.Errorf("%d of %d leases are made again: this shows nothing of those about to end", again, all)
	}
	time.Sleep(spread + 500*time.Millisecond)
	holds(t, l, map[string]uint64{stays.Lease.String(): 0})
}
