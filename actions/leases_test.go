package actions

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// Two leases on one source are two values, and each namespace has its own.
func TestLeasesAreMadeAndEnded(t *testing.T) {
	onPlainToo(t, func(t *testing.T, r *rig) {
		all := []Lease{
			limited("10.0.0.5/32"), dropped("10.0.0.5/32"), bypassed(), limited("2001:db8:0:1::/64"),
			inside(limited("10.0.0.5/32")), inside(bypassed()),
		}
		r.lease(t, all...)
		r.inForce(t, all...)
		for len(all) > 0 {
			id := len(r.Changes()) - len(all) + 1
			if moved, err := r.Undo(id, "calm"); err != nil || len(moved) != 1 || moved[0].State != undone || moved[0].Note != "calm" {
				t.Fatal(moved, err)
			}
			all = all[1:]
			r.inForce(t, all...)
		}
		r.want(t, r.max(), undone, undone, undone, undone, undone, undone)
	})
}

func TestLeaseLapses(t *testing.T) {
	for name, call := range map[string]func(r *rig) ([]ledger.Change, error){
		"recover": func(r *rig) ([]ledger.Change, error) { return r.Recover() },
		"undo":    func(r *rig) ([]ledger.Change, error) { return r.Undo(1, "calm") },
		"yield":   func(r *rig) ([]ledger.Change, error) { return r.Yield(1, "drift") },
		"renew":   func(r *rig) ([]ledger.Change, error) { _, ended, err := r.Renew(); return ended, err },
		"restart": func(r *rig) ([]ledger.Change, error) { r.restart(t); return r.Recover() },
	} {
		t.Run(name, func(t *testing.T) {
			onPlainToo(t, func(t *testing.T, r *rig) {
				r.lease(t, limited("10.0.0.5/32"))
				r.leased.Advance(span - time.Millisecond)
				r.inForce(t, limited("10.0.0.5/32"))
				r.leased.Advance(time.Millisecond)
				r.inForce(t)
				moved, err := call(r)
				if err != nil || len(moved) != 1 || moved[0].State != undone || !strings.HasSuffix(moved[0].Note, LapsedNote) || moved[0].Yielded != nil {
					t.Fatal(moved, err)
				}
				if moved, err := r.Recover(); moved != nil || err != nil {
					t.Error(moved, err)
				}
				r.lease(t, limited("10.0.0.5/32")) // again, as a change of its own
				r.want(t, r.max(), undone, applied)
			})
		})
	}
}

// What reads none at Undoing is undone, whoever ended it.
func TestLeaseLapsesUnderTheUndo(t *testing.T) {
	r := atRest(t)
	r.lease(t, dropped("10.0.0.5/32"))
	r.leased.SetReadOnly(true)
	if _, err := r.Undo(1, "calm"); !errors.Is(err, syscall.EPERM) {
		t.Fatal(err)
	}
	r.want(t, r.max(), undoing)
	r.renews(t, nil, nil) // not prolonged any more
	r.leased.Advance(span)
	if moved, err := r.Recover(); err != nil || len(moved) != 1 || moved[0].State != undone || moved[0].Note != "calm" {
		t.Fatal(moved, err)
	}
}

func TestKilledGuardiansLeases(t *testing.T) {
	all := []Lease{limited("10.0.0.5/32"), bypassed()}
	t.Run("owned", func(t *testing.T) {
		r := atRest(t)
		r.lease(t, all...)
		r.restart(t)
		r.inForce(t)
		if moved, err := r.Recover(); err != nil || len(moved) != 2 {
			t.Fatal(moved, err)
		}
		r.want(t, r.max(), undone, undone)
	})
	t.Run("plain, ended", func(t *testing.T) {
		r := atRest(t)
		r.leased.SetPlain(true)
		r.lease(t, all...)
		r.restart(t)
		r.inForce(t, all...)
		if moved, err := r.Recover(); err != nil || moved != nil {
			t.Fatal(moved, err)
		}
		r.target.Bounds(0, 0, nil) // rollback does not know the policy
		for id := range all {
			if moved, err := r.Undo(id+1, "rolled back"); err != nil || len(moved) != 1 {
				t.Fatal(moved, err)
			}
		}
		r.inForce(t)
		r.want(t, r.max(), undone, undone)
	})
	t.Run("plain, adopted by a renewal", func(t *testing.T) {
		r := atRest(t)
		r.leased.SetPlain(true)
		r.lease(t, all...)
		r.leased.Advance(span / 2)
		r.restart(t)
		r.renews(t, nil, nil)
		r.leased.Advance(span - 1)
		r.inForce(t, all...)
		r.leased.Kill()
	})
	t.Run("plain, adopted by another lease", func(t *testing.T) {
		r := atRest(t)
		r.leased.SetPlain(true)
		r.lease(t, all...)
		r.restart(t)
		r.lease(t, limited("10.0.0.6/32"))
		r.inForce(t, append(all, limited("10.0.0.6/32"))...)
		if moved, err := r.Undo(1, "calm"); err != nil || moved[0].State != undone {
			t.Fatal(moved, err)
		}
		r.inForce(t, all[1], limited("10.0.0.6/32"))
	})
}

// A comment that is not ours is somebody else's element, whatever it says.
func TestForeignLeaseIsYielded(t *testing.T) {
	source := nft.Lease{Kind: nft.Limit, Source: netip.MustParsePrefix("10.0.0.5/32")}
	for name, text := range map[string]string{"other terms": "51/s burst 100 lease 15s", "text": "mine", "none": "none", "control": "a\x1bb"} {
		for call, meet := range map[string]func(r *rig) ([]ledger.Change, error){
			"recover": func(r *rig) ([]ledger.Change, error) { return r.Recover() },
			"undo":    func(r *rig) ([]ledger.Change, error) { return r.Undo(1, "calm") },
			"renew": func(r *rig) ([]ledger.Change, error) {
				r.leased.Advance(span / 2)
				restored, ended, err := r.Renew()
				return append(restored, ended...), err
			},
		} {
			t.Run(name+"/"+call, func(t *testing.T) {
				r := atRest(t)
				r.leased.SetPlain(true)
				r.lease(t, limited("10.0.0.5/32"))
				r.leased.Set("", source, text)
				moved, err := meet(r)
				if err != nil || len(moved) != 1 || moved[0].State != yielded || strings.Contains(moved[0].Note, "\x1b") {
					t.Fatalf("%+v, %v", moved, err)
				}
				if got := r.leased.Value("limit:10.0.0.5/32"); got != text {
					t.Errorf("it reads %q now", got)
				}
				if _, err := r.Do(leaseChange(limited("10.0.0.5/32"))); !errors.Is(err, ErrStale) {
					t.Errorf("made over it: %v", err)
				}
			})
		}
	}
}

// An element whose comment does not say what it is about is found by its address.
func TestStrangeElementIsNoneOfOurs(t *testing.T) {
	r := atRest(t)
	r.leased.Set("", nft.Lease{Kind: nft.Limit, Source: netip.MustParsePrefix("2001:db8:0:1::/128")}, "mine")
	if _, err := r.Do(leaseChange(limited("2001:db8:0:1::/64"))); !errors.Is(err, ErrStale) {
		t.Errorf("made over it: %v", err)
	}
	r.lease(t, dropped("2001:db8:0:1::/64")) // another kind
}

func TestLeasesRefuse(t *testing.T) {
	wide, other := limited("10.0.0.0/24"), bypassed()
	other.Mark = "00000000"
	unknown := bypassed()
	unknown.Flow = "ntp"
	nowhere := limited("10.0.0.5/32")
	nowhere.Namespace = "/run/netns/nowhere"
	for name, e := range map[string]ledger.Edit{
		"not one source":    LeaseEdit(wide),
		"not one source, 6": LeaseEdit(limited("2001:db8::/56")),
		"another flow":      LeaseEdit(unknown),
		"another mark":      LeaseEdit(other),
		"no such namespace": LeaseEdit(nowhere),
		"from a lease":      edit("limit:10.0.0.5/32", "50/s burst 100 lease 15s", "60/s burst 100 lease 15s"),
		"to nothing":        edit("limit:10.0.0.5/32", "none", ""),
		"of another kind":   edit("limit:10.0.0.5/32", "none", "all dropped lease 15s"),
		"for long":          edit("limit:10.0.0.5/32", "none", "50/s burst 100 lease 1h"),
		"of all":            edit("drop:0.0.0.0/0", "none", "all dropped lease 15s"),
		"of no source":      edit("limit:dns", "none", "50/s burst 100 lease 15s"),
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			c, err := r.Do(ledger.Change{Measure: "limit-source", Edits: []ledger.Edit{e}})
			if err == nil || r.Changes() != nil || r.leased.Holds() != 0 {
				t.Fatalf("taken: %+v", c)
			}
			if gone := name == "no such namespace"; errors.Is(err, ErrGone) != gone {
				t.Errorf("refused with %v", err)
			}
			kind, about, _ := strings.Cut(e.Key, ":")
			if err := r.target.Targets()[kind].Write(about, e.After); err == nil && e.Before == NoLease {
				t.Error("written without being asked")
			}
		})
	}
}

// Nothing is made before the policy has been read.
func TestNothingIsLeasedWithoutBounds(t *testing.T) {
	r := atRest(t)
	r.target.Bounds(0, 0, nil)
	for _, l := range []Lease{limited("10.0.0.5/32"), dropped("2001:db8::/64"), bypassed()} {
		if _, err := r.Do(leaseChange(l)); err == nil {
			t.Errorf("%s is made", l.key())
		}
	}
}

// A ledger from elsewhere may say that a lease was there before: an undo makes none.
func TestUndoMakesNoLease(t *testing.T) {
	r := atRest(t)
	e := edit("limit:10.0.0.5/32", "50/s burst 100 lease 15s", "none")
	if _, err := r.ledger.Intend(leaseChange(limited("10.0.0.5/32"))); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ledger.Intend(ledger.Change{Measure: "limit-source", Edits: []ledger.Edit{e}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ledger.Step(2, ledger.Applied, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Undo(2, "calm"); err == nil {
		t.Error("undone")
	}
	r.inForce(t)
}

func TestLeaseIsRefusedByTheKernel(t *testing.T) {
	r := atRest(t)
	r.leased.SetReadOnly(true)
	if c, err := r.Do(leaseChange(limited("10.0.0.5/32"))); err != nil || c.State != failed || !strings.Contains(c.Note, "operation not permitted") {
		t.Fatal(c, err)
	}
	r.leased.SetReadOnly(false)
	r.lease(t, limited("10.0.0.5/32"))
	faster := limited("10.0.0.6/32")
	faster.Rate = 60
	c, err := r.Do(leaseChange(faster))
	if err != nil || c.State != failed || !strings.Contains(c.Note, nft.ErrTerms.Error()) {
		t.Fatal(c, err)
	}
	r.inForce(t, limited("10.0.0.5/32"))
	r.want(t, r.max(), failed, applied, failed)
}

// Another guardian that lives has the tables.
func TestLivingGuardiansLeasesAreLeftAlone(t *testing.T) {
	r := atRest(t)
	r.lease(t, limited("10.0.0.5/32"))
	another := &rig{dir: t.TempDir(), boot: boot, kernel: r.kernel, leased: r.leased}
	another.start(t)
	t.Cleanup(func() { another.ledger.Close() })
	c, err := another.Do(leaseChange(limited("10.0.0.6/32")))
	if err != nil || c.State != failed || !strings.Contains(c.Note, nft.ErrOwned.Error()) {
		t.Fatal(c, err)
	}
	if err := another.target.Targets()["limit"].Write("10.0.0.5/32", NoLease); !errors.Is(err, nft.ErrOwned) {
		t.Error(err)
	}
	r.inForce(t, limited("10.0.0.5/32"))
}

func TestHeldLeases(t *testing.T) {
	r := atRest(t)
	r.lease(t, inside(limited("10.0.0.5/32")), inside(bypassed()), dropped("10.0.0.9/32"))
	r.leased.Advance(time.Second)
	got, err := r.target.Held(elsewhere)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	keys := []string{got[0].Key, got[1].Key}
	slices.Sort(keys)
	a, b := inside(bypassed()), inside(limited("10.0.0.5/32"))
	if d := cmp.Diff([]string{a.key(), b.key()}, keys); d != "" {
		t.Error(d)
	}
	if got[0].Left != span-time.Second {
		t.Errorf("%s left", got[0].Left)
	}
	if _, err := r.target.Held("/run/netns/nowhere"); !errors.Is(err, ErrGone) || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestCloseEndsLeases(t *testing.T) {
	onPlainToo(t, func(t *testing.T, r *rig) {
		r.lease(t, limited("10.0.0.5/32"), inside(bypassed()))
		for range 2 {
			if err := r.target.Close(); err != nil {
				t.Fatal(err)
			}
			r.inForce(t)
		}
		if moved, err := r.Recover(); err != nil || len(moved) != 2 || moved[0].State != undone {
			t.Error(moved, err)
		}
	})
}
