package actions

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

func TestDoAndUndo(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "131072", applied)
	r.want(t, "131072", applied)
	if _, err := r.Judge(c.ID, "helped"); err != nil {
		t.Fatal(err)
	}
	moved, err := r.Undo(c.ID, "calm for 10 minutes")
	if err != nil || len(moved) != 1 {
		t.Fatalf("Undo moved %v, %v", moved, err)
	}
	if u := moved[0]; u.State != undone || u.Note != "calm for 10 minutes" || u.Outcome != "helped" {
		t.Errorf("undone as %+v", u)
	}
	r.want(t, "65536", undone)
	if _, err := r.Undo(c.ID, ""); !errors.Is(err, ErrNotOpen) {
		t.Errorf("undo of an undone change: %v", err)
	}
}

func TestViewIsSharedAndCheap(t *testing.T) {
	r := atRest(t)
	r.raise(t, "65536", "131072", applied)
	gen := r.Generation()
	if n := testing.AllocsPerRun(20, func() { r.Changes(); r.Open(); r.Generation() }); n != 0 {
		t.Errorf("an unchanged view allocates %v times", n)
	}
	if r.Generation() != gen {
		t.Error("reading moves the generation")
	}
	r.raise(t, "131072", "262144", applied)
	if r.Generation() == gen || len(r.Changes()) != 2 {
		t.Errorf("after a change: generation %d, %d changes", r.Generation(), len(r.Changes()))
	}
}

func TestKernelRefuses(t *testing.T) {
	r := atRest(t)
	r.kernel.SetReadOnly(true)
	c := r.raise(t, "65536", "131072", failed)
	if !strings.Contains(c.Note, syscall.EACCES.Error()) {
		t.Errorf("the note does not say why: %q", c.Note)
	}
	r.kernel.SetReadOnly(false)
	r.kernel.SetDeaf(true)
	if c = r.raise(t, "65536", "131072", failed); c.Note == "" {
		t.Error("accepted and not taken, without a note")
	}
	r.kernel.SetDeaf(false)
	r.want(t, "65536", failed, failed)
}

// A kernel that refuses the undo leaves it to be tried again.
func TestKernelRefusesUndo(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "131072", applied)
	for _, refuse := range []func(bool){r.kernel.SetReadOnly, r.kernel.SetDeaf} {
		refuse(true)
		if _, err := r.Undo(c.ID, "calm"); err == nil {
			t.Fatal("an undo that did not happen is no error")
		}
		r.want(t, "131072", undoing)
		if _, err := r.Recover(); err == nil {
			t.Fatal("neither is one in recovery")
		}
		refuse(false)
	}
	r.restart(t)
	if _, err := r.Recover(); err != nil {
		t.Fatal(err)
	}
	r.want(t, "65536", undone)
}

func TestRivalAtTheLastMoment(t *testing.T) {
	for when, want := range map[ledger.Effect]string{ledger.Append: "before the write", ledger.Sync: "before the write"} {
		r := atRest(t)
		r.stop(t)
		armed := false
		r.opt.Around = func(e ledger.Effect, p []byte, do func([]byte) error) error {
			if armed && e == when {
				r.kernel.Set(MaxName, "300000")
			}
			return do(p)
		}
		r.start(t)
		armed = true
		r.raise(t, "65536", "131072", yielded)
		r.want(t, "300000", yielded)
		if w := r.kernel.Writes(); w != nil {
			t.Errorf("rival at %s %s: written over: %v", when, want, w)
		}
	}
}

func TestOtherBootIsVoid(t *testing.T) {
	r := atRest(t)
	r.raise(t, "65536", "131072", applied)
	r.raise(t, "131072", "262144", applied)
	r.boot = "another-boot"
	r.restart(t)
	moved, err := r.Recover()
	if err != nil || len(moved) != 2 {
		t.Fatal(moved, err)
	}
	r.want(t, "262144", ledger.Void, ledger.Void)
}

// A ledger that can't be written stops doing, not undoing; what was undone
// meanwhile is recorded when it can be again.
func TestUnwritableLedger(t *testing.T) {
	r := atRest(t)
	r.stop(t)
	full := false
	r.opt.Around = func(_ ledger.Effect, p []byte, do func([]byte) error) error {
		if full {
			return syscall.ENOSPC
		}
		return do(p)
	}
	r.start(t)
	r.raise(t, "65536", "131072", applied)
	r.raise(t, "131072", "262144", applied)
	full = true
	if _, err := r.Do(change(edit(MaxKey, "262144", "524288"))); !errors.Is(err, syscall.ENOSPC) || r.Err() == nil {
		t.Fatalf("Do on a full disk: %v", err)
	}
	gen := r.Generation()
	moved, err := r.Undo(1, "calm")
	if !errors.Is(err, syscall.ENOSPC) || len(moved) != 2 || r.max() != "65536" {
		t.Fatalf("Undo on a full disk: %v, %v, max %s", moved, err, r.max())
	}
	if d := cmp.Diff([]ledger.State{undone, undone}, statesOf(r.Changes())); d != "" || len(r.Open()) != 0 || r.Generation() == gen {
		t.Errorf("in memory: %s, %d open", d, len(r.Open()))
	}
	if _, err := r.Probe(); err == nil {
		t.Error("the probe finds room on a full disk")
	}
	full = false
	if _, err := r.Probe(); err != nil {
		t.Fatal(err)
	}
	r.want(t, "65536", undone, undone)
	if n := r.Changes()[0].Note; n != "calm" {
		t.Errorf("the reason is lost: %q", n)
	}
	if w := r.kernel.Writes(); len(w) != 4 {
		t.Errorf("%d writes: %v", len(w), w)
	}
}

func TestAppliedNotRecordedIsSettledByProbe(t *testing.T) {
	r := atRest(t)
	r.stop(t)
	syncs, failAt := 0, -1
	r.opt.Around = func(e ledger.Effect, p []byte, do func([]byte) error) error {
		if e == ledger.Sync {
			if syncs++; syncs == failAt {
				return syscall.EIO
			}
		}
		return do(p)
	}
	r.start(t)
	failAt = syncs + 2
	c, err := r.Do(change(edit(MaxKey, "65536", "131072")))
	if !errors.Is(err, syscall.EIO) || c.ID != 1 || c.State != intended || r.max() != "131072" {
		t.Fatalf("%+v, %v", c, err)
	}
	moved, err := r.Probe()
	if err != nil || len(moved) != 1 {
		t.Fatal(moved, err)
	}
	r.want(t, "131072", applied)
	if w := r.kernel.Writes(); len(w) != 1 {
		t.Errorf("written again: %v", w)
	}
}

// A key that can't be read settles nothing and loses nothing.
func TestKeyIsGoneForAWhile(t *testing.T) {
	r := atRest(t)
	r.raise(t, "65536", "131072", applied)
	r.kernel.SetAround(func(_, _ string, do func() error) error {
		defer r.kernel.Remove(MaxName)
		return do()
	})
	c, err := r.Do(change(edit(MaxKey, "131072", "262144")))
	if !errors.Is(err, syscall.ENOENT) || c.ID != 2 || c.State != intended {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := r.Recover(); !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("recovered without the key: %v", err)
	}
	r.want(t, "", applied, intended)
	r.kernel.SetAround(nil)
	r.kernel.Set(MaxName, "262144")
	if moved, err := r.Probe(); err != nil || len(moved) != 1 {
		t.Fatal(moved, err)
	}
	r.want(t, "262144", applied, applied)
	if _, err := r.Undo(1, ""); err != nil {
		t.Fatal(err)
	}
	r.want(t, "65536", undone, undone)
}

func BenchmarkDoUndo(b *testing.B) {
	r := newRig(b, b.TempDir(), ledger.Options{})
	defer r.ledger.Close()
	for i := 0; b.Loop(); i++ {
		c, err := r.Do(change(edit(MaxKey, "65536", strconv.Itoa(65537+i%1000))))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Undo(c.ID, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// A raise on a key whose undo the kernel has refused gives the undo up: max is
// never lowered on the way to raising it.
func TestDoGivesUpAnUnfinishedUndo(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "98304", applied)
	r.kernel.SetReadOnly(true)
	if _, err := r.Undo(c.ID, "over"); err == nil {
		t.Fatal("the undo was not refused")
	}
	r.kernel.SetReadOnly(false)
	r.raise(t, "98304", "147456", applied)
	r.want(t, "147456", applied, applied)
	if n := len(r.kernel.Writes()); n != 2 {
		t.Errorf("%d writes, want the two raises: %v", n, r.kernel.Writes())
	}
}

// Nothing of another boot is given up or finished: it is over.
func TestUnfinishedUndoOfAnotherBootIsVoid(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "98304", applied)
	r.kernel.SetReadOnly(true)
	if _, err := r.Undo(c.ID, "over"); !errors.Is(err, syscall.EACCES) {
		t.Fatal(err)
	}
	r.kernel.SetReadOnly(false)
	r.boot = "another-boot"
	r.restart(t)
	r.raise(t, "98304", "147456", applied)
	r.want(t, "147456", ledger.Void, applied)
}

// What a run was killed before writing is told from what the kernel did not take.
func TestNotesOfFailure(t *testing.T) {
	change := ledger.Change{Measure: "raise-max", Edits: []ledger.Edit{{Key: MaxKey, Before: "65536", After: "131072"}}}
	for name, tc := range map[string]struct {
		fail func(r *rig) error
		want string
	}{
		"killed": {func(r *rig) error {
			if _, err := r.ledger.Intend(change); err != nil {
				return err
			}
			_, err := r.Recover()
			return err
		}, NeverWritten},
		"not taken": {func(r *rig) error {
			r.kernel.SetDeaf(true)
			_, err := r.Do(change)
			return err
		}, "not taken: the kernel reads the value before"},
	} {
		r := newRig(t, t.TempDir(), ledger.Options{})
		if err := tc.fail(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c := r.Changes()[0]; c.State != ledger.Failed || c.Note != tc.want {
			t.Errorf("%s: %s, %q, want %q", name, c.State, c.Note, tc.want)
		}
		r.stop(t)
	}
}
