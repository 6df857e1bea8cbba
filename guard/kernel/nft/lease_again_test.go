package nft

import (
	"slices"
	"testing"
	"time"
)

// A lease that comes back with its table ends when it would have ended: nobody has
// renewed it.
func TestRootMadeAgainForWhatIsLeft(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, plainLeases)
	old, renewed := limit("10.0.0.1/32"), limit("10.0.0.2/32")
	hold(t, l, someTerms(), 20*time.Second, old)
	hold(t, l, someTerms(), time.Minute, renewed)
	time.Sleep(1100 * time.Millisecond)
	inside(t, ns, func() error { return EndLeft(old.Lease, renewed.Lease) }) // and so the table
	remade, err := l.Hold(someTerms(), time.Minute, renewed)
	if err != nil || !slices.Equal(remade, []string{"ip " + LimitsName}) {
		t.Fatalf("remade %q, %v", remade, err)
	}
	held := readLeases(t, l)
	if len(held) != 2 || held[0].Lease != old.Lease || held[0].Text != old.Text {
		t.Fatalf("%+v", held)
	}
	if left := held[0].Left; left > 19*time.Second || left < time.Second {
		t.Errorf("%v left of 20 s, renewed more than a second ago", left)
	}
}

// Leases that have lapsed don't hold a table to their terms.
func TestRootOtherTermsAfterTheLapse(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	hold(t, l, someTerms(), time.Second, limit("10.0.0.1/32"))
	time.Sleep(1100 * time.Millisecond)
	other := someTerms()
	other.Rate++
	hold(t, l, other, time.Minute, limit("10.0.0.2/32"))
	holds(t, l, map[string]uint64{"limit 10.0.0.2/32": 0})
}
