package nft

import (
	"testing"
	"time"
)

// A table that a call has made and not lived to hear of, since the kernel took too
// long, is ours: the next call takes its place.
func TestRootLateTableIsOurs(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	for _, table := range l.tables {
		if err := table.socket.create(nil, flagOwner); err != nil {
			t.Fatal(err)
		}
	}
	hold(t, l, someTerms(), time.Minute, limit("10.0.0.1/32"), limit("fd00::/64"), drop("10.0.0.2/32"))
	if n := len(readLeases(t, l)); n != 3 {
		t.Errorf("%d leases, want 3", n)
	}
}
