package actions

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

const boot = "b1a7e0c4-0000-4000-8000-000000000001"

// testing.T, testing.F and rapid.T
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// A rig is an executor with its ledger on a disk and its kernel, each of which
// outlives the executor.
type rig struct {
	*Executor
	dir    string
	boot   string
	opt    ledger.Options
	kernel *actionstest.Kernel
	leased *actionstest.LeaseKernel
	target *Leases // of the executor
}

// free is a target that allows every name the kernel has, for changes of many
// edits.
type free struct{ *actionstest.Kernel }

func (free) Allow(_, _, _, _ string) error { return nil }

func newRig(t tester, dir string, opt ledger.Options) *rig {
	r := offRig(dir, opt)
	r.start(t)
	return r
}

// offRig is a rig before its first start.
func offRig(dir string, opt ledger.Options) *rig {
	r := &rig{dir: dir, boot: boot, opt: opt, kernel: actionstest.New(65536), leased: actionstest.NewLeases()}
	r.leased.AddNamespace(elsewhere)
	for _, name := range []string{"a", "b", "c"} {
		r.kernel.Set(name, "10")
	}
	for class, seconds := range normals {
		r.kernel.Set(class.Key(), seconds)
		r.kernel.Set(actionstest.In(elsewhere, class.Key()), seconds)
	}
	return r
}

// start opens the ledger as a new process does.
func (r *rig) start(t tester) {
	t.Helper()
	l, err := ledger.OpenWith(r.dir, r.boot, r.opt)
	if err != nil {
		t.Fatal(err)
	}
	s := &Sysctl{ReadKey: r.kernel.Read, WriteKey: r.kernel.Write, Count: r.kernel.Entries}
	timeouts := &Timeouts{ReadKey: r.kernel.ReadIn, WriteKey: r.kernel.WriteIn, Gone: r.kernel.Gone}
	r.target = leasesOn(r.leased)
	targets := r.target.Targets()
	targets["sysctl"], targets["timeout"], targets["free"] = s, timeouts, free{r.kernel}
	r.Executor = New(l, targets)
}

func (r *rig) stop(t tester) {
	t.Helper()
	if err := r.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	r.leased.Kill()
}

func (r *rig) restart(t tester) {
	t.Helper()
	r.stop(t)
	r.start(t)
}

func atRest(t *testing.T) *rig {
	r := newRig(t, t.TempDir(), ledger.Options{})
	t.Cleanup(func() { r.ledger.Close() })
	return r
}

func edit(key, before, after string) ledger.Edit {
	return ledger.Edit{Key: key, Before: before, After: after}
}

func change(edits ...ledger.Edit) ledger.Change {
	return ledger.Change{Measure: "raise-max", Episode: "e1", Edits: edits}
}

// raise does a raise of max that must come to a state.
func (r *rig) raise(t tester, from, to string, want ledger.State) ledger.Change {
	t.Helper()
	c, err := r.Do(change(edit(MaxKey, from, to)))
	if err != nil || c.State != want {
		t.Fatalf("raise %s → %s: %s, %v; want %s", from, to, c.State, err, want)
	}
	return c
}

func (r *rig) max() string { return r.kernel.Value(MaxName) }

// want holds max and the states of all changes against what they should be,
// in memory and on the disk.
func (r *rig) want(t tester, max string, states ...ledger.State) {
	t.Helper()
	if r.max() != max {
		t.Errorf("max is %s, want %s", r.max(), max)
	}
	if d := cmp.Diff(states, statesOf(r.Changes())); d != "" {
		t.Errorf("changes in memory (-want +got):\n%s", d)
	}
	disk, err := ledger.Read(r.dir)
	if d := cmp.Diff(states, statesOf(disk)); d != "" || err != nil {
		t.Errorf("changes on disk (-want +got): %v\n%s", err, d)
	}
}

func statesOf(changes []ledger.Change) []ledger.State {
	var s []ledger.State
	for _, c := range changes {
		s = append(s, c.State)
	}
	return s
}

const (
	applied  = ledger.Applied
	undone   = ledger.Undone
	failed   = ledger.Failed
	yielded  = ledger.Yielded
	undoing  = ledger.Undoing
	intended = ledger.Intended
)
