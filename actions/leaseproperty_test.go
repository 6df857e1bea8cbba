package actions

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A tenancy is a rig to whose leases anything happens in any order: time, rivals,
// kills, flushes, other policies.
type tenancy struct {
	*rig
	dieIn int // effects until the process is killed, 0 never
	// rivals are keys that a rival has written. The socket still remembers what it held
	// there, for no longer than that lease.
	rivals map[string]bool
}

func newTenancy(t *rapid.T, dir string) *tenancy {
	h := &tenancy{rivals: map[string]bool{}}
	effect := func(do func() error) error {
		if h.dieIn > 0 {
			if h.dieIn--; h.dieIn == 0 {
				panic(killed{})
			}
		}
		return do()
	}
	h.rig = offRig(dir, ledger.Options{Bound: 3000, Keep: 10, Around: func(_ ledger.Effect, p []byte, do func([]byte) error) error {
		return effect(func() error { return do(p) })
	}})
	h.leased.SetAround(func(_ []actionstest.LeaseWrite, do func() error) error { return effect(do) })
	h.leased.SetPlain(rapid.Bool().Draw(t, "plain"))
	h.start(t)
	return h
}

// survive runs one call; when it kills the process, another starts.
func (h *tenancy) survive(t *rapid.T, call func() error) {
	defer func() {
		h.dieIn = 0
		p := recover()
		if p == nil {
			return
		}
		if _, ok := p.(killed); !ok {
			panic(p)
		}
		h.restart(t)
		if _, err := h.Recover(); err != nil {
			t.Fatalf("recover after a kill: %v", err)
		}
	}()
	switch err := call(); {
	case err == nil, errors.Is(err, ErrStale), errors.Is(err, ErrNotOpen), errors.Is(err, ErrGone), errors.Is(err, syscall.ENOENT):
	case len(h.rivals) > 0 && errors.Is(err, nft.ErrTerms):
	default:
		t.Fatal(err)
	}
}

// any draws one of a few leases, so that they meet.
func (h *tenancy) any(t *rapid.T) Lease {
	l := rapid.SampledFrom([]Lease{
		limited("10.0.0.5/32"), limited("10.0.0.6/32"), dropped("10.0.0.5/32"), limited("2001:db8::/64"), bypassed(),
	}).Draw(t, "lease")
	if rapid.Bool().Draw(t, "elsewhere") {
		l = inside(l)
	}
	return l
}

func (h *tenancy) do(t *rapid.T) {
	l := h.any(t)
	h.survive(t, func() error {
		c, err := h.Do(leaseChange(l))
		terms := len(h.rivals) > 0 && strings.Contains(c.Note, nft.ErrTerms.Error())
		if err == nil && c.State != applied && c.State != ledger.Void && !terms {
			t.Errorf("%s: %s %q", l.key(), c.State, c.Note)
		}
		return err
	})
}

func (h *tenancy) undo(t *rapid.T) {
	if len(h.Open()) == 0 {
		return
	}
	id := rapid.SampledFrom(h.Open()).Draw(t, "change").ID
	h.survive(t, func() error { _, err := h.Undo(id, "calm"); return err })
}

func (h *tenancy) renew(t *rapid.T) {
	h.survive(t, func() error { _, _, err := h.Renew(); return err })
}

func (h *tenancy) wait(t *rapid.T) {
	h.leased.Advance(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
}

func (h *tenancy) flush(t *rapid.T) {
	h.leased.Flush(rapid.SampledFrom([]string{"", elsewhere}).Draw(t, "namespace"))
}

func (h *tenancy) kill(t *rapid.T) { h.dieIn = rapid.IntRange(1, 12).Draw(t, "effects") }

func (h *tenancy) move(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "how") == 0 {
		h.leased.RemoveNamespace(elsewhere)
	} else {
		h.leased.AddNamespace(elsewhere)
	}
}

// rival writes over a lease in a table that it may write to.
func (h *tenancy) rival(t *rapid.T) {
	l := h.any(t)
	if text, ok := h.leased.Values()[l.key()]; ok && text != l.text() || !ok {
		return
	}
	h.rivals[l.key()] = true
	h.leased.Set(l.Namespace, l.held(), "mine")
}

// bound changes the policy for a moment.
func (h *tenancy) bound(t *rapid.T) {
	h.target.Bounds(32, rapid.SampledFrom([]int{64, 56}).Draw(t, "bits"), nil)
	h.renew(t)
	h.target.Bounds(32, 64, []Flow{dns})
	h.renew(t)
}

// standing recovers and holds every open change against the kernel, and the kernel
// against the changes: what is in force has an open change, or is a rival's, or lapses.
func (h *tenancy) standing(t *rapid.T) {
	h.survive(t, func() error { _, err := h.Recover(); return err })
	live, said := h.leased.Values(), map[string]bool{}
	for _, c := range h.Open() {
		if c.State != applied {
			t.Fatalf("change %d is %s after recovery", c.ID, c.State)
		}
		e := c.Edits[0]
		if live[e.Key] != e.After {
			t.Fatalf("change %d: %s reads %q", c.ID, e.Key, live[e.Key])
		}
		if said[e.Key] {
			t.Fatalf("two open changes of %s", e.Key)
		}
		said[e.Key] = true
	}
	for key, text := range live {
		if !said[key] && text != "mine" && !h.rivals[key] {
			t.Fatalf("%s is in force and no open change says so", key)
		}
	}
	gen := h.Generation()
	if moved, err := h.Recover(); err != nil || moved != nil || h.Generation() != gen {
		t.Fatalf("recovering twice is not recovering once: %v, %v", moved, err)
	}
}

// lapses is the promise: a lease's time after the last word nothing of ours is in
// force, and the ledger says so.
func (h *tenancy) lapses(t *rapid.T) {
	h.leased.Advance(span)
	for key, text := range h.leased.Values() {
		if !strings.HasPrefix(text, "mine") {
			t.Fatalf("%s is in force: %s", key, text)
		}
	}
	h.standing(t)
	if open := h.Open(); len(open) > 0 {
		t.Fatalf("open after all has lapsed: %+v", open)
	}
}

func TestAnyLifeOfLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "tenancy")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		h := newTenancy(t, dir)
		defer func() { h.ledger.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"do": h.do, "undo": h.undo, "renew": h.renew, "wait": h.wait, "flush": h.flush, "kill": h.kill,
			"move": h.move, "rival": h.rival, "bound": h.bound, "recover": h.standing,
		})
		h.dieIn = 0
		h.standing(t)
		h.lapses(t)
	})
}
