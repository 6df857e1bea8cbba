package actions

import (
	"errors"
	"maps"
	"strings"
	"syscall"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

func TestDoRefusesBeforeRecording(t *testing.T) {
	for name, c := range map[string]ledger.Change{
		"stale":               change(edit(MaxKey, "70000", "131072")),
		"no edits":            change(),
		"no change":           change(edit(MaxKey, "65536", "65536")),
		"one key twice":       change(edit(MaxKey, "65536", "131072"), edit(MaxKey, "65536", "262144")),
		"second edit stale":   change(edit(MaxKey, "65536", "131072"), edit(BucketsKey, "1", "131072")),
		"unknown kind":        change(edit("nft:limit", "a", "b")),
		"no kind":             change(edit("nf_conntrack_max", "65536", "131072")),
		"foreign sysctl":      change(edit("sysctl:kernel.core_pattern", "core", "|/bin/sh")),
		"path in a name":      change(edit("sysctl:net.netfilter.nf_conntrack_max/../../a", "10", "11")),
		"no number":           change(edit(MaxKey, "65536", "lots")),
		"unlimited":           change(edit(MaxKey, "65536", "0")),
		"too large":           change(edit(MaxKey, "65536", "2147483648")),
		"not as kernel print": change(edit(MaxKey, "65536", "0131072")),
		"signed":              change(edit(MaxKey, "65536", "+131072")),
		"below the count":     change(edit(MaxKey, "65536", "49999")),
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			r.kernel.SetEntries(40000)
			was := r.kernel.Values()
			_, err := r.Do(c)
			if err == nil {
				t.Fatal("taken")
			}
			if stale := strings.Contains(name, "stale"); stale != errors.Is(err, ErrStale) {
				t.Errorf("refused with %v", err)
			}
			if unsafe := name == "below the count"; unsafe != errors.Is(err, ErrUnsafe) {
				t.Errorf("refused with %v", err)
			}
			if !maps.Equal(was, r.kernel.Values()) || len(r.Changes()) != 0 || r.kernel.Writes() != nil {
				t.Errorf("something was written or recorded: %v", r.Changes())
			}
		})
	}
}

func TestRoundedValueIsNotOurs(t *testing.T) {
	r := atRest(t)
	c, err := r.Do(change(edit(BucketsKey, "65536", "70000")))
	if err != nil || c.State != yielded || r.kernel.Value(BucketsName) != "70144" {
		t.Errorf("70000 buckets: %s, %v, kernel %s", c.State, err, r.kernel.Value(BucketsName))
	}
}

func TestLoweringBelowTheCountIsUnsafe(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "131072", applied)
	r.kernel.SetEntries(60000)
	_, err := r.Undo(c.ID, "operator")
	if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "60000 entries") {
		t.Fatalf("lowering to 65536 with 60000 entries: %v", err)
	}
	r.want(t, "131072", applied)
	if _, err := r.UndoForced(c.ID, "operator"); err != nil {
		t.Fatal(err)
	}
	r.want(t, "65536", undone)
}

func TestMarginIsExact(t *testing.T) {
	s := &Sysctl{Count: func(string) (int, error) { return 80_000, nil }}
	if err := s.Allow("", MaxName, "262144", "100000"); err != nil {
		t.Errorf("80000 and a quarter fit 100000: %v", err)
	}
	if err := s.Allow("", MaxName, "262144", "99999"); !errors.Is(err, ErrUnsafe) {
		t.Errorf("80000 and a quarter do not fit 99999: %v", err)
	}
	s.Count = func(string) (int, error) { return 0, syscall.EIO }
	if err := s.Allow("", MaxName, "262144", "100000"); !errors.Is(err, ErrUnsafe) || !errors.Is(err, syscall.EIO) {
		t.Errorf("lowering blindly: %v", err)
	}
}

// A mean chain of two is what a table may shrink to.
func TestShrinkingTheHashIsUnsafe(t *testing.T) {
	s := &Sysctl{Count: func(string) (int, error) { return 80_128, nil }}
	if err := s.Allow("", BucketsName, "262144", "80128"); err != nil {
		t.Errorf("a bucket an entry: %v", err)
	}
	if err := s.Allow("", BucketsName, "1024", "80127"); err != nil {
		t.Errorf("growing, if too little: %v", err)
	}
	err := s.Allow("", BucketsName, "262144", "65536")
	if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "a mean chain of 2.4") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("80128 entries in 65536 buckets: %v", err)
	}
	s.Count = func(string) (int, error) { return 0, syscall.EIO }
	if err := s.Allow("", BucketsName, "262144", "65536"); !errors.Is(err, ErrUnsafe) || !errors.Is(err, syscall.EIO) {
		t.Errorf("shrinking blindly: %v", err)
	}
}

func TestUndoOfBucketsWaitsForTheTable(t *testing.T) {
	r := atRest(t)
	c, err := r.Do(change(edit(BucketsKey, "65536", "131072")))
	if err != nil || c.State != applied {
		t.Fatal(c, err)
	}
	r.kernel.SetEntries(70_000)
	if _, err := r.Undo(c.ID, "operator"); !errors.Is(err, ErrUnsafe) {
		t.Fatalf("shrunk to 65536 buckets with 70000 entries: %v", err)
	}
	r.want(t, "65536", applied)
	if _, err := r.UndoForced(c.ID, "operator"); err != nil || r.kernel.Value(BucketsName) != "65536" {
		t.Fatalf("%s buckets, %v", r.kernel.Value(BucketsName), err)
	}
	r.want(t, "65536", undone)
}

// Force overrules the count, not the list of names: the ledger is input.
func TestForgedLedgerWritesNothing(t *testing.T) {
	for _, key := range []string{"sysctl:a", "sysctl:kernel.core_pattern", "nft:x", "free:nowhere", ""} {
		r := atRest(t)
		if _, err := r.ledger.Intend(change(edit(key, "99", "10"))); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ledger.Step(1, undoing, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Recover(); err == nil {
			t.Errorf("recovered a change of %q", key)
		}
		if _, err := r.UndoForced(1, ""); err == nil {
			t.Errorf("undid a change of %q", key)
		}
		if w := r.kernel.Writes(); w != nil {
			t.Errorf("key %q: wrote %v", key, w)
		}
	}
}
