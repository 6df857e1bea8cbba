package actions

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// A fillable is a rig whose disk can be full.
type fillable struct {
	*rig
	full bool
}

func onDisk(t *testing.T) *fillable {
	f := &fillable{rig: offRig(t.TempDir(), ledger.Options{})}
	f.opt.Around = func(_ ledger.Effect, p []byte, do func([]byte) error) error {
		if f.full {
			return syscall.ENOSPC
		}
		return do(p)
	}
	f.start(t)
	t.Cleanup(func() { f.ledger.Close() })
	return f
}

// three is a change of three values, in force.
func (f *fillable) three(t *testing.T) ledger.Change {
	t.Helper()
	c, err := f.Do(change(edit("free:a", "10", "11"), edit("free:b", "10", "21"), edit("free:c", "10", "31")))
	if err != nil || c.State != applied {
		t.Fatal(c, err)
	}
	return c
}

// loses has a rival write a value, which the full disk can't be told.
func (f *fillable) loses(t *testing.T, name string) {
	t.Helper()
	f.full = true
	f.kernel.Set(name, "77")
	if moved, err := f.Recover(); !errors.Is(err, syscall.ENOSPC) || len(moved) != 1 {
		t.Fatal(moved, err)
	}
	f.full = false
}

func (f *fillable) yielded(t *testing.T, want ...string) ledger.Change {
	t.Helper()
	disk, err := ledger.Read(f.dir)
	if err != nil || len(disk) != 1 {
		t.Fatal(disk, err)
	}
	for where, c := range map[string]ledger.Change{"memory": f.Changes()[0], "disk": disk[0]} {
		if d := cmp.Diff(want, c.Yielded); d != "" {
			t.Errorf("lost in %s (-want +got):\n%s", where, d)
		}
	}
	return disk[0]
}

// What is lost in several steps while the ledger can't be told is all told.
func TestOwedLossesAddUp(t *testing.T) {
	f := onDisk(t)
	f.three(t)
	f.loses(t, "a")
	f.loses(t, "b")
	if _, err := f.Probe(); err != nil {
		t.Fatal(err)
	}
	f.yielded(t, "free:a", "free:b")
	f.kernel.Set("a", "11") // a rival's, though it reads as ours
	f.restart(t)
	if _, err := f.Undo(1, "calm"); err != nil {
		t.Fatal(err)
	}
	if a, c := f.kernel.Value("a"), f.kernel.Value("c"); a != "11" || c != "10" {
		t.Errorf("a %s, c %s", a, c)
	}
}

// A step that is recorded carries what was owed, which is owed no more.
func TestNextStepPaysWhatIsOwed(t *testing.T) {
	f := onDisk(t)
	f.three(t)
	f.loses(t, "a")
	if moved, err := f.Undo(1, "calm"); err != nil || moved[len(moved)-1].State != undone {
		t.Fatal(moved, err)
	}
	f.yielded(t, "free:a")
	gen := f.Generation()
	for range 2 {
		if moved, err := f.Probe(); err != nil || moved != nil {
			t.Fatalf("paid twice: %v, %v", moved, err)
		}
	}
	if moved, err := f.Recover(); err != nil || moved != nil || f.Generation() != gen {
		t.Errorf("recovered %v, %v", moved, err)
	}
	f.want(t, f.max(), undone)
}

func TestOwedChangeIsJudged(t *testing.T) {
	f := onDisk(t)
	f.three(t)
	f.loses(t, "a")
	gen := f.Generation()
	if _, err := f.Judge(1, "helped"); err != nil {
		t.Fatal(err)
	}
	if c := f.Changes()[0]; c.Outcome != "helped" || len(c.Yielded) != 1 || f.Generation() == gen {
		t.Errorf("judged while it owes: %+v", c)
	}
	if _, err := f.Probe(); err != nil {
		t.Fatal(err)
	}
	if c := f.yielded(t, "free:a"); c.Outcome != "helped" {
		t.Errorf("the outcome is %q on the disk", c.Outcome)
	}
}

func TestOwedChangeIsWalkedFor(t *testing.T) {
	f := onDisk(t)
	f.three(t)
	f.loses(t, "a")
	gen := f.Generation()
	walk := ledger.Walk{Done: true, Read: 7, Classes: []ledger.Count{{Class: "udp_timeout", Deleted: 3}}}
	f.full = true
	if _, err := f.Walked(1, walk); !errors.Is(err, syscall.ENOSPC) || f.Changes()[0].Walk != nil {
		t.Fatalf("walked on a full disk: %v", err)
	}
	f.full = false
	if c, err := f.Walking(1, true); err != nil || !c.Walk.Running || !f.Changes()[0].Walk.Running {
		t.Fatalf("%+v, %v", c.Walk, err)
	}
	if c, err := f.Walked(1, walk); err != nil || c.Walk.Read != 7 {
		t.Fatalf("%+v, %v", c.Walk, err)
	}
	if c := f.Changes()[0]; c.Walk == nil || c.Walk.Walks != 1 || len(c.Yielded) != 1 || f.Generation() == gen {
		t.Errorf("walked for while it owes: %+v", c)
	}
	if _, err := f.Probe(); err != nil {
		t.Fatal(err)
	}
	if c := f.yielded(t, "free:a"); c.Walk == nil || c.Walk.Classes[0].Deleted != 3 {
		t.Errorf("the walk is %+v on the disk", c.Walk)
	}
	if _, err := f.Walked(9, walk); err == nil {
		t.Error("a walk for no change is taken")
	}
}

// The table may fill between an undo that the kernel refused and the next try.
func TestUnfinishedUndoWaitsForTheTable(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "131072", applied)
	r.kernel.SetReadOnly(true)
	if _, err := r.Undo(c.ID, "calm"); !errors.Is(err, syscall.EACCES) {
		t.Fatal(err)
	}
	r.kernel.SetReadOnly(false)
	r.kernel.SetEntries(60000)
	if _, err := r.Recover(); !errors.Is(err, ErrUnsafe) {
		t.Fatalf("lowered to 65536 with 60000 entries: %v", err)
	}
	r.want(t, "131072", undoing)
	r.kernel.SetEntries(1000)
	if _, err := r.Recover(); err != nil {
		t.Fatal(err)
	}
	r.want(t, "65536", undone)
}

func TestEditsAreTakenBackLastFirst(t *testing.T) {
	f := onDisk(t)
	f.three(t)
	if _, err := f.Undo(1, "calm"); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, w := range f.kernel.Writes() {
		order = append(order, w.Name)
	}
	if got := strings.Join(order, " "); got != "a b c c b a" {
		t.Errorf("written in the order %s", got)
	}
}

// What a rival takes while its undo is unfinished was not undone.
func TestUnfinishedUndoIsYielded(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "131072", applied)
	r.kernel.SetReadOnly(true)
	if _, err := r.Undo(c.ID, "calm"); !errors.Is(err, syscall.EACCES) {
		t.Fatal(err)
	}
	r.kernel.Set(MaxName, "300000")
	r.kernel.SetReadOnly(false)
	moved, err := r.Recover()
	if err != nil || len(moved) != 1 || cmp.Diff([]string{MaxKey}, moved[0].Yielded) != "" {
		t.Fatal(moved, err)
	}
	r.want(t, "300000", yielded)
}
