package actions

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

func TestRenewalKeepsLeasesInForce(t *testing.T) {
	onPlainToo(t, func(t *testing.T, r *rig) {
		all := []Lease{limited("10.0.0.5/32"), dropped("10.0.0.5/32"), bypassed(), inside(limited("2001:db8::/64"))}
		r.lease(t, all...)
		gen, holds := r.Generation(), r.leased.Holds()
		for range 100 {
			r.leased.Advance(time.Second)
			r.renews(t, nil, nil)
			r.inForce(t, all...)
		}
		// A call for each of two namespaces, a third of a lease apart.
		if n := r.leased.Holds() - holds; n != 2*100/5 {
			t.Errorf("prolonged in %d calls", n)
		}
		if r.Generation() != gen {
			t.Error("a renewal is recorded")
		}
	})
}

// Leases that were made at different times are prolonged together from then on.
func TestRenewalBringsLeasesTogether(t *testing.T) {
	r := atRest(t)
	r.lease(t, limited("10.0.0.5/32"))
	r.leased.Advance(4 * time.Second)
	r.lease(t, limited("10.0.0.6/32"))
	holds := r.leased.Holds()
	r.leased.Advance(time.Second)
	r.renews(t, nil, nil)
	r.leased.Advance(4 * time.Second)
	r.renews(t, nil, nil)
	if n := r.leased.Holds() - holds; n != 1 {
		t.Errorf("prolonged in %d calls", n)
	}
}

func TestFlushedLeasesAreRestored(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	all := []Lease{limited("10.0.0.5/32"), bypassed(), inside(dropped("10.0.0.5/32"))}
	r.lease(t, all...)
	r.leased.Advance(time.Second)
	r.leased.Flush("")
	r.inForce(t, all[2])
	r.renews(t, []int{1, 2}, nil)
	r.inForce(t, all...)
	r.renews(t, nil, nil)
	r.want(t, r.max(), applied, applied, applied)
}

// A single lease that was taken away is missed when it is due, in time.
func TestLeaseTakenOutOfItsTableIsRestored(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"), limited("10.0.0.6/32"))
	source := limited("10.0.0.5/32")
	r.leased.Set("", source.held(), "")
	r.leased.Advance(span / renewParts)
	r.renews(t, []int{1}, nil)
	r.inForce(t, limited("10.0.0.5/32"), limited("10.0.0.6/32"))
}

// Another lease makes the flushed table anew, with what it held: that is told once.
func TestFlushBeforeANewLeaseIsTold(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"), bypassed())
	r.leased.Flush("")
	r.lease(t, limited("10.0.0.6/32"))
	r.renews(t, []int{1, 2}, nil)
	r.renews(t, nil, nil)
	r.inForce(t, limited("10.0.0.5/32"), bypassed(), limited("10.0.0.6/32"))
}

// A guardian that was stopped for longer than a lease does not begin where it was.
func TestLeaseIsNotRestoredAfterItsTime(t *testing.T) {
	onPlainToo(t, func(t *testing.T, r *rig) {
		r.lease(t, limited("10.0.0.5/32"))
		r.leased.Advance(span)
		r.leased.Flush("")
		ended := r.renews(t, nil, []int{1})
		if ended[0].State != undone || ended[0].Note != LapsedNote {
			t.Errorf("%+v", ended[0])
		}
		r.inForce(t)
	})
}

func TestRenewalFailsAndIsTriedAgain(t *testing.T) {
	r := atRest(t)
	r.lease(t, limited("10.0.0.5/32"))
	r.leased.Advance(span / 2)
	r.leased.SetReadOnly(true)
	if restored, ended, err := r.Renew(); !errors.Is(err, syscall.EPERM) || restored != nil || ended != nil {
		t.Fatal(restored, ended, err)
	}
	r.leased.SetReadOnly(false)
	r.renews(t, nil, nil)
	r.leased.Advance(span - 1)
	r.inForce(t, limited("10.0.0.5/32"))
}

// The policy in force is another: what it does not have is ended, the rest stays, in
// a table made anew.
func TestRenewalFollowsTheBounds(t *testing.T) {
	ntp := dns
	ntp.Name, ntp.Mark = "ntp", "99999999"
	other := dns
	other.Mark = "00000000"
	for name, x := range map[string]struct {
		bits4, bits6 int
		flows        []Flow
		ended        []int
		stay         []Lease
	}{
		"same":          {32, 64, []Flow{dns}, nil, []Lease{limited("10.0.0.5/32"), limited("2001:db8::/64"), bypassed()}},
		"another flow":  {32, 64, []Flow{ntp, dns}, nil, []Lease{limited("10.0.0.5/32"), limited("2001:db8::/64"), bypassed()}},
		"no such flow":  {32, 64, []Flow{ntp}, []int{3}, []Lease{limited("10.0.0.5/32"), limited("2001:db8::/64")}},
		"other terms":   {32, 64, []Flow{other}, []int{3}, []Lease{limited("10.0.0.5/32"), limited("2001:db8::/64")}},
		"wider sources": {24, 64, []Flow{dns}, []int{1}, []Lease{limited("2001:db8::/64"), bypassed()}},
		"nothing":       {24, 56, nil, []int{1, 2, 3}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			r.lease(t, limited("10.0.0.5/32"), limited("2001:db8::/64"), bypassed())
			r.target.Bounds(x.bits4, x.bits6, x.flows)
			for _, c := range r.renews(t, nil, x.ended) {
				if c.State != undone || c.Note != unfitNote {
					t.Errorf("%+v", c)
				}
			}
			r.inForce(t, x.stay...)
			r.leased.Advance(span / 2)
			r.renews(t, nil, nil)
			r.leased.Advance(span / 2)
			r.inForce(t, x.stay...)
		})
	}
}

// Limits of two families may be of two rates: each has a table of its own.
func TestRenewalOfSeveralTerms(t *testing.T) {
	r := atRest(t)
	slow := limited("2001:db8::/64")
	slow.Rate, slow.For = 5, 10*time.Second
	all := []Lease{limited("10.0.0.5/32"), slow, dropped("10.0.0.5/32")}
	r.lease(t, all...)
	for range 10 {
		r.leased.Advance(4 * time.Second)
		r.renews(t, nil, nil)
		r.inForce(t, all...)
	}
}

func TestLeasesOfAMovedNamespaceAreVoid(t *testing.T) {
	for name, move := range map[string]func(k *actionstest.LeaseKernel){
		"gone":    func(k *actionstest.LeaseKernel) { k.RemoveNamespace(elsewhere) },
		"another": func(k *actionstest.LeaseKernel) { k.AddNamespace(elsewhere) },
	} {
		for call, meet := range map[string]func(r *rig) ([]ledger.Change, error){
			"renew":   func(r *rig) ([]ledger.Change, error) { _, ended, err := r.Renew(); return ended, err },
			"recover": func(r *rig) ([]ledger.Change, error) { return r.Recover() },
			"undo": func(r *rig) ([]ledger.Change, error) {
				a, errA := r.Undo(1, "calm")
				b, errB := r.Undo(2, "calm")
				return append(a, b...), errors.Join(errA, errB)
			},
		} {
			t.Run(name+"/"+call, func(t *testing.T) {
				r := atRest(t)
				r.lease(t, inside(limited("10.0.0.5/32")), inside(bypassed()), limited("10.0.0.5/32"))
				move(r.leased)
				moved, err := meet(r)
				if err != nil || len(moved) != 2 {
					t.Fatal(moved, err)
				}
				for _, c := range moved {
					if c.State != ledger.Void || !strings.HasPrefix(c.Note, ErrGone.Error()) {
						t.Errorf("%+v", c)
					}
				}
				r.inForce(t, limited("10.0.0.5/32"))
				r.leased.Advance(span / 2)
				r.renews(t, nil, nil)
				_, again := r.leased.Space(elsewhere)
				c, err := r.Do(leaseChange(inside(limited("10.0.0.5/32"))))
				if made := err == nil && c.State == applied; made != again {
					t.Fatalf("made there: %s %q, %v", c.State, c.Note, err)
				}
				if again {
					r.leased.Advance(span / 2)
					r.renews(t, nil, nil)
					r.inForce(t, limited("10.0.0.5/32"), inside(limited("10.0.0.5/32")))
				}
			})
		}
	}
}

// What the old namespace still has is ended as soon as the move is seen.
func TestLeasesLeaveTheOldNamespace(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, inside(limited("10.0.0.5/32")))
	p := r.target.places[elsewhere]
	r.leased.AddNamespace(elsewhere)
	socket := p.socket
	r.renews(t, nil, []int{1})
	if _, err := socket.Read(); err == nil {
		t.Error("the socket in the old namespace is open")
	}
}

func TestRenewNeedsNothingOfOthers(t *testing.T) {
	r := atRest(t)
	r.raise(t, "65536", "131072", applied)
	r.lease(t, limited("10.0.0.5/32"))
	if _, err := r.ledger.Intend(leaseChange(limited("10.0.0.6/32"))); err != nil { // not known to be in force
		t.Fatal(err)
	}
	r.leased.Advance(span / 2)
	r.renews(t, nil, nil)
	r.inForce(t, limited("10.0.0.5/32"))
}

// BenchmarkRenewIdle is what a tick pays while nothing is due.
func BenchmarkRenewIdle(b *testing.B) {
	for _, n := range []int{0, 1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, b.TempDir(), ledger.Options{})
			b.Cleanup(func() { r.ledger.Close() })
			for i := range n {
				r.lease(b, limited(fmt.Sprintf("10.0.0.%d/32", i)))
			}
			for b.Loop() {
				if _, _, err := r.Renew(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRenewDue is what it pays every third of a lease, without the kernel.
func BenchmarkRenewDue(b *testing.B) {
	r := newRig(b, b.TempDir(), ledger.Options{})
	b.Cleanup(func() { r.ledger.Close() })
	for i := range 64 {
		r.lease(b, limited(fmt.Sprintf("10.0.0.%d/32", i)))
	}
	for b.Loop() {
		r.leased.Advance(span / renewParts)
		if _, _, err := r.Renew(); err != nil {
			b.Fatal(err)
		}
	}
}

var _ LeaseSocket = (*nft.Leases)(nil)

// A flow that the policy in force has only now may be leased beside what was there.
func TestNewFlowBesideOldLeases(t *testing.T) {
	r := atRest(t)
	r.target.Bounds(32, 64, nil)
	r.lease(t, dropped("10.0.0.5/32"))
	r.target.Bounds(32, 64, []Flow{dns})
	r.renews(t, nil, nil)
	r.lease(t, bypassed())
	r.inForce(t, dropped("10.0.0.5/32"), bypassed())
}

// What was flushed and has been settled since does not come back with its table.
func TestUndoneLeaseDoesNotComeBack(t *testing.T) {
	for name, settle := range map[string]func(r *rig) error{
		"recover": func(r *rig) error { _, err := r.Recover(); return err },
		"undo":    func(r *rig) error { _, err := r.Undo(1, "calm"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			r.leased.SetPlain(true)
			r.lease(t, limited("10.0.0.5/32"))
			r.leased.Flush("")
			if err := settle(r); err != nil {
				t.Fatal(err)
			}
			r.lease(t, limited("10.0.0.6/32"))
			r.inForce(t, limited("10.0.0.6/32"))
			r.want(t, r.max(), undone, applied)
		})
	}
}

func TestLeaseOfAnotherBootIsNotProlonged(t *testing.T) {
	r := atRest(t)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	r.boot = "b1a7e0c4-0000-4000-8000-000000000002"
	r.restart(t)
	holds := r.leased.Holds()
	r.renews(t, nil, nil)
	if r.leased.Holds() != holds {
		t.Error("prolonged")
	}
}

// The path may come to name another namespace in the moment in which it is entered.
func TestNamespaceMovesWhileItIsOpened(t *testing.T) {
	r := atRest(t)
	open := r.target.Open
	r.target.Open = func(namespace string) (LeaseSocket, error) {
		r.leased.AddNamespace(namespace)
		return open(namespace)
	}
	c, err := r.Do(leaseChange(inside(limited("10.0.0.5/32"))))
	if err != nil || c.State.Open() {
		t.Fatal(c.State, err)
	}
	r.inForce(t)
}

// What the namespace that has our path now holds is not ours, though it reads the same.
func TestSameLeaseInAnotherNamespaceIsNotOurs(t *testing.T) {
	r := atRest(t)
	l := inside(limited("10.0.0.5/32"))
	r.lease(t, l)
	r.leased.AddNamespace(elsewhere)
	r.leased.Set(elsewhere, l.held(), l.text())
	holds := r.leased.Holds()
	if ended := r.renews(t, nil, []int{1}); len(ended) == 1 && ended[0].State != ledger.Void {
		t.Errorf("%+v", ended)
	}
	if r.leased.Holds() != holds {
		t.Error("prolonged")
	}
}

// What another process held and is missing is not restored, however young the boot.
func TestLeaseOfAnotherProcessIsNotRestored(t *testing.T) {
	r := atRest(t)
	r.leased.Advance(-r.leased.Now() + time.Second)
	r.leased.SetPlain(true)
	r.lease(t, limited("10.0.0.5/32"))
	r.restart(t)
	r.leased.Flush("")
	r.renews(t, nil, []int{1})
	r.inForce(t)
}
