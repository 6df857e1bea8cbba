package actions

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// flushed removes the tables as somebody else does, a second after the last time.
func (r *rig) flushed() {
	r.leased.Advance(time.Second)
	r.leased.Flush("")
}

// givenUp wants changes that were yielded because of who takes them away.
func givenUp(t *testing.T, ended []ledger.Change) {
	t.Helper()
	for _, c := range ended {
		if c.State != ledger.Yielded || c.Note != TakenNote || len(c.Yielded) != 1 || c.Yielded[0] != c.Edits[0].Key {
			t.Errorf("%+v", c)
		}
	}
}

// Three times within ten minutes the table is put back, then it is left alone.
func TestTableTakenAgainAndAgainIsYielded(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	elsewhereToo := inside(limited("10.0.0.5/32"))
	r.lease(t, limited("10.0.0.5/32"), limited("10.0.0.6/32"), bypassed(), elsewhereToo)
	for range restoreMost {
		r.flushed()
		r.renews(t, []int{1, 2, 3}, nil)
		r.inForce(t, limited("10.0.0.5/32"), limited("10.0.0.6/32"), bypassed(), elsewhereToo)
	}
	r.flushed()
	givenUp(t, r.renews(t, nil, []int{1, 2, 3}))
	r.inForce(t, elsewhereToo)
	holds := r.leased.Holds()
	r.renews(t, nil, nil)
	if r.leased.Holds() != holds {
		t.Error("put back after all")
	}
	r.want(t, r.max(), yielded, yielded, yielded, applied)
	if moved, err := r.Recover(); err != nil || moved != nil {
		t.Error("recovery moves what was yielded:", moved, err)
	}
}

// What was given up does not come back with the table that another lease makes.
func TestGivenUpLeaseStaysAway(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	for range restoreMost {
		r.flushed()
		r.renews(t, []int{1}, nil)
	}
	r.flushed()
	givenUp(t, r.renews(t, nil, []int{1}))
	r.lease(t, limited("10.0.0.6/32"))
	r.inForce(t, limited("10.0.0.6/32"))
	r.flushed() // the same table, the fifth time: not one restoration for each new lease
	givenUp(t, r.renews(t, nil, []int{2}))
	r.inForce(t)
}

// A firewall that is reloaded now and then is put up with for ever.
func TestTableTakenNowAndThenIsPutBack(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	every := restoreSpan/restoreMost + time.Second
	for n := range 50 {
		for waited := time.Duration(0); waited < every; waited += time.Second {
			r.leased.Advance(time.Second)
			r.renews(t, nil, nil)
		}
		r.leased.Flush("")
		r.renews(t, []int{1}, nil)
		if t.Failed() {
			t.Fatalf("flush %d", n)
		}
	}
}

// Somebody sets sources free one by one: each has its own count while the table stays.
func TestLeaseTakenAgainAndAgainIsYielded(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	all := []Lease{limited("10.0.0.5/32"), limited("10.0.0.6/32"), limited("10.0.0.7/32")}
	r.lease(t, all...)
	take := func(l Lease) {
		r.leased.Set("", l.held(), "")
		r.leased.Advance(span / renewParts)
	}
	for n := range all { // another each time, as often as one may be put back, and once more
		take(all[n])
		r.renews(t, []int{n + 1}, nil)
	}
	for range restoreMost - 1 {
		take(all[0])
		r.renews(t, []int{1}, nil)
	}
	r.leased.Advance(span / renewParts) // in force it stays
	r.renews(t, nil, nil)
	r.inForce(t, all...)
	take(all[0])
	givenUp(t, r.renews(t, nil, []int{1}))
	take(all[1])
	r.renews(t, []int{2}, nil)
	r.inForce(t, all[1:]...)
}

// A flush that a new lease has mended counts, too, but nothing is given up that is in
// force.
func TestTableMendedByANewLeaseIsCounted(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	var ids []int
	for n := range restoreMost + 2 {
		r.lease(t, limited(fmt.Sprintf("10.0.0.%d/32", n+1)))
		r.renews(t, ids, nil)
		ids = append(ids, n+1)
		r.flushed()
	}
	givenUp(t, r.renews(t, nil, ids))
	r.inForce(t)
}

// Another namespace of the name is another place, where nothing was taken yet.
func TestTakingsStayInTheirNamespace(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	flush := func(id int) {
		r.leased.Advance(time.Second)
		r.leased.Flush(elsewhere)
		r.renews(t, []int{id}, nil)
	}
	r.lease(t, inside(limited("10.0.0.5/32")))
	for range restoreMost {
		flush(1)
	}
	r.leased.AddNamespace(elsewhere)
	r.renews(t, nil, []int{1})
	r.lease(t, inside(limited("10.0.0.5/32")))
	flush(2)
}

// What fails to be put back does not count as put back.
func TestFailedRestorationIsNotCounted(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	r.flushed()
	r.leased.SetReadOnly(true)
	for range 2 * restoreMost {
		if _, ended, err := r.Renew(); err == nil || ended != nil {
			t.Fatal(ended, err)
		}
	}
	r.leased.SetReadOnly(false)
	r.renews(t, []int{1}, nil)
}

// What the socket does not let go comes back with its table at the worst, and lapses.
func TestGivenUpThoughTheSocketKeepsIt(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	for range restoreMost {
		r.flushed()
		r.renews(t, []int{1}, nil)
	}
	r.flushed()
	r.leased.SetReadOnly(true)
	restored, ended, err := r.Renew()
	if err == nil || restored != nil || len(ended) != 1 {
		t.Fatal(restored, ended, err)
	}
	givenUp(t, ended)
	r.leased.SetReadOnly(false)
	r.lease(t, limited("10.0.0.6/32"))
	r.leased.Advance(span - time.Second)
	r.renews(t, nil, nil)
	r.inForce(t, limited("10.0.0.6/32"))
}

// taken is a story of leases whose table is taken away until they are given up, with
// another of a namespace where it is not.
func taken(w *world) {
	w.leased.SetPlain(true)
	var last ledger.Change
	for _, l := range []Lease{limited("10.0.0.5/32"), bypassed(), inside(dropped("10.0.0.5/32"))} {
		var err error
		last, err = w.Do(leaseChange(l))
		w.mend(err)
	}
	for range restoreMost + 1 {
		w.leased.Advance(time.Second)
		w.leased.Flush("")
		_, _, err := w.Renew()
		w.mend(err)
	}
	if _, open := w.find(last.ID); open {
		_, err := w.Undo(last.ID, "calm")
		w.mend(err)
	}
}

// The ledger's disk is full: it is owed, and told when there is room.
func TestGivenUpWhileTheLedgerCannotBeWritten(t *testing.T) {
	full := false
	r := newRig(t, t.TempDir(), ledger.Options{Around: func(_ ledger.Effect, p []byte, do func([]byte) error) error {
		if full {
			return syscall.ENOSPC
		}
		return do(p)
	}})
	t.Cleanup(func() { r.ledger.Close() })
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	for range restoreMost {
		r.flushed()
		r.renews(t, []int{1}, nil)
	}
	r.flushed()
	full = true
	if _, ended, err := r.Renew(); err == nil || len(ended) != 1 {
		t.Fatal(ended, err)
	} else {
		givenUp(t, ended)
	}
	full = false
	if _, err := r.Probe(); err != nil {
		t.Fatal(err)
	}
	r.want(t, r.max(), yielded)
}
