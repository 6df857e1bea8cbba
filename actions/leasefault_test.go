package actions

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// aroundLeases counts and hits what is written to the leases of the kernel, which is
// one effect however many there are.
func (w *world) aroundLeases(writes []actionstest.LeaseWrite, do func() error) error {
	for _, x := range writes {
		if x.Text != NoLease || w.leased.Value(x.Key) != "" { // else it changes nothing
			w.writeAhead(x.Key, x.Text)
		}
	}
	if w.refusing {
		return syscall.EPERM
	}
	if w.writes++; w.writes == w.diesAt {
		panic(killed{})
	}
	return w.happens(effect{name: "write kernel", do: func([]byte) error { return do() }})
}

// lease limits and then drops a source, arms a flow, prolongs all, lets one be
// and takes them back.
func lease(w *world) {
	var ids []int
	for _, l := range []Lease{limited("10.0.0.5/32"), dropped("10.0.0.5/32"), inside(bypassed())} {
		c, err := w.Do(leaseChange(l))
		w.mend(err)
		ids = append(ids, c.ID)
	}
	w.leased.Advance(span / 2)
	_, _, err := w.Renew()
	w.mend(err)
	w.leased.Advance(span * 3 / 4)
	for _, id := range ids {
		if _, open := w.find(id); open {
			_, err = w.Undo(id, "calm")
			w.mend(err)
		}
	}
}

func leasePlain(w *world) {
	w.leased.SetPlain(true)
	lease(w)
}

// TestLeasesLapseAnywhere lets every lease run out at each effect that the disk and
// the kernel have in a story of leases, and kills the process soon after, or not:
// nothing is in force then, whatever the ledger says, and it ends up saying so.
func TestLeasesLapseAnywhere(t *testing.T) {
	for name, story := range map[string]func(*world){"owned": lease, "plain": leasePlain} {
		clean := newWorld(t, story, ledger.Options{}, -1, fault{})
		clean.play()
		for n, effect := range clean.seen {
			t.Run(fmt.Sprintf("%s/%d %s", name, n, effect), func(t *testing.T) {
				for _, kill := range []int{n + 1, n + 2, n + 3, n + 4, n + 5, never} {
					lapseAt(t, story, n, kill)
				}
			})
		}
		clean.rise()
	}
}

const never = -1

func lapseAt(t *testing.T, story func(*world), lapse, kill int) {
	w := newWorld(t, story, ledger.Options{}, -1, fault{})
	began, inner := w.leased.Now(), w.opt.Around
	step := func() {
		switch len(w.seen) {
		case lapse:
			w.leased.Advance(span)
		case kill:
			panic(killed{})
		}
	}
	w.opt.Around = func(e ledger.Effect, p []byte, do func([]byte) error) error { step(); return inner(e, p, do) }
	w.leased.SetAround(func(writes []actionstest.LeaseWrite, do func() error) error {
		step()
		return w.aroundLeases(writes, do)
	})
	w.play()
	w.opt.Around = inner
	w.leased.SetAround(w.aroundLeases)
	if w.leased.Now()-began < span {
		t.Fatal("nothing lapsed")
	}
	w.rise()
	w.agree()
	w.again()
	w.leased.Advance(time.Minute)
	if _, err := w.Recover(); err != nil {
		t.Error(err)
	}
	for _, c := range w.Changes() {
		if c.State.Open() || c.State == yielded {
			t.Errorf("after all has lapsed change %d is %s: %q", c.ID, c.State, c.Note)
		}
	}
	w.asItWas()
}
