package actions

import (
	"errors"
	"maps"
	"strconv"
	"strings"
	"syscall"
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
}

// free is a target that allows every name the kernel has, for changes of many
// edits.
type free struct{ *actionstest.Kernel }

func (free) Allow(_, _, _, _ string) error { return nil }

func newRig(t tester, dir string, opt ledger.Options) *rig {
	r := &rig{dir: dir, boot: boot, opt: opt, kernel: actionstest.New(65536)}
	for _, name := range []string{"a", "b", "c"} {
		r.kernel.Set(name, "10")
	}
	r.start(t)
	return r
}

// start opens the ledger as a new process does.
func (r *rig) start(t tester) {
	t.Helper()
	l, err := ledger.OpenWith(r.dir, r.boot, r.opt)
	if err != nil {
		t.Fatal(err)
	}
	s := &Sysctl{ReadKey: r.kernel.Read, WriteKey: r.kernel.Write, Count: r.kernel.Entries, Margin: DefaultMargin}
	r.Executor = New(l, map[string]Target{"sysctl": s, "free": free{r.kernel}})
}

func (r *rig) stop(t tester) {
	t.Helper()
	if err := r.ledger.Close(); err != nil {
		t.Fatal(err)
	}
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

func TestRoundedValueIsNotOurs(t *testing.T) {
	r := atRest(t)
	c, err := r.Do(change(edit(BucketsKey, "65536", "70000")))
	if err != nil || c.State != yielded || r.kernel.Value(BucketsName) != "70144" {
		t.Errorf("70000 buckets: %s, %v, kernel %s", c.State, err, r.kernel.Value(BucketsName))
	}
}

func TestStackIsUndoneNewestFirst(t *testing.T) {
	r := atRest(t)
	a := r.raise(t, "65536", "131072", applied)
	r.raise(t, "131072", "262144", applied)
	c := r.raise(t, "262144", "524288", applied)
	if _, err := r.Undo(c.ID, ""); err != nil {
		t.Fatal(err)
	}
	r.want(t, "262144", applied, applied, undone)
	moved, err := r.Undo(a.ID, "")
	if err != nil || len(moved) != 2 || moved[0].ID != 2 || moved[1].ID != 1 {
		t.Fatalf("Undo of the first moved %v, %v", moved, err)
	}
	r.want(t, "65536", undone, undone, undone)
	var steps []string
	for _, w := range r.kernel.Writes() {
		steps = append(steps, w.New)
	}
	if d := cmp.Diff([]string{"131072", "262144", "524288", "262144", "131072", "65536"}, steps); d != "" {
		t.Error(d)
	}
}

// A stack reaches over keys: b stands on a change of a and b, c on one of b.
func TestStackAcrossKeys(t *testing.T) {
	r := atRest(t)
	do := func(edits ...ledger.Edit) {
		t.Helper()
		if c, err := r.Do(change(edits...)); err != nil || c.State != applied {
			t.Fatal(c, err)
		}
	}
	do(edit("free:a", "10", "11"))
	do(edit("free:a", "11", "12"), edit("free:b", "10", "20"))
	do(edit("free:c", "10", "31"))
	do(edit("free:b", "20", "21"), edit("free:c", "31", "32"))
	if _, err := r.Undo(1, ""); err != nil {
		t.Fatal(err)
	}
	r.want(t, "65536", undone, undone, applied, undone)
	if a, b, c := r.kernel.Value("a"), r.kernel.Value("b"), r.kernel.Value("c"); a != "10" || b != "10" || c != "31" {
		t.Errorf("a %s, b %s, c %s", a, b, c)
	}
}

func TestDriftIsYieldedWithTheStackBelow(t *testing.T) {
	// 131072 is what the change below wrote: that a rival chose the same number
	// does not make it ours.
	for _, rival := range []string{"300000", "131072", "65536"} {
		for name, call := range map[string]func(r *rig) ([]ledger.Change, error){
			"undo the top":    func(r *rig) ([]ledger.Change, error) { return r.Undo(2, "calm") },
			"undo the bottom": func(r *rig) ([]ledger.Change, error) { return r.Undo(1, "calm") },
			"yield":           func(r *rig) ([]ledger.Change, error) { return r.Yield(2, "drift") },
			"recover":         func(r *rig) ([]ledger.Change, error) { return r.Recover() },
		} {
			t.Run(rival+"/"+name, func(t *testing.T) {
				r := atRest(t)
				r.raise(t, "65536", "131072", applied)
				r.raise(t, "131072", "262144", applied)
				r.kernel.Set(MaxName, rival)
				moved, err := call(r)
				if err != nil || len(moved) != 2 {
					t.Fatalf("moved %v, %v", moved, err)
				}
				r.want(t, rival, yielded, yielded)
				if n := r.Changes()[1].Note; !strings.Contains(n, rival) {
					t.Errorf("the note does not say what was found: %q", n)
				}
			})
		}
	}
}

func TestYieldOfWhatIsOursKeepsIt(t *testing.T) {
	r := atRest(t)
	c := r.raise(t, "65536", "131072", applied)
	if moved, err := r.Yield(c.ID, "drift"); err != nil || moved != nil {
		t.Fatal(moved, err)
	}
	r.want(t, "131072", applied)
}

func TestDoOnDriftedKeyIsStale(t *testing.T) {
	r := atRest(t)
	r.raise(t, "65536", "131072", applied)
	r.kernel.Set(MaxName, "300000")
	if _, err := r.Do(change(edit(MaxKey, "300000", "400000"))); !errors.Is(err, ErrStale) {
		t.Fatalf("a change over one that has just drifted: %v", err)
	}
	r.want(t, "300000", yielded)
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
	s := &Sysctl{Count: func(string) (int, error) { return 80_000, nil }, Margin: DefaultMargin}
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
	if err := s.Allow("", BucketsName, "262144", "512"); err != nil {
		t.Errorf("shrinking the hash refuses nobody: %v", err)
	}
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

func TestManyEdits(t *testing.T) {
	three := change(edit("free:a", "10", "11"), edit("free:b", "10", "21"), edit("free:c", "10", "31"))
	refuseAt := func(name string) actionstest.Around {
		return func(n, v string, do func() error) error {
			if n == name && v != "10" {
				return syscall.EINVAL
			}
			return do()
		}
	}
	for name, c := range map[string]struct {
		do     actionstest.Around
		rivals map[string]string // between do and undo
		done   ledger.State
		end    ledger.State
		lost   []string
		values string
	}{
		"all":              {done: applied, end: undone, values: "10 10 10"},
		"first refused":    {do: refuseAt("a"), done: failed, end: failed, values: "10 10 10"},
		"last refused":     {do: refuseAt("c"), done: failed, end: failed, values: "10 10 10"},
		"one lost later":   {rivals: map[string]string{"b": "77"}, done: applied, end: undone, lost: []string{"free:b"}, values: "10 77 10"},
		"two lost later":   {rivals: map[string]string{"a": "76", "c": "78"}, done: applied, end: undone, lost: []string{"free:a", "free:c"}, values: "76 10 78"},
		"all lost later":   {rivals: map[string]string{"a": "1", "b": "2", "c": "3"}, done: applied, end: yielded, lost: []string{"free:a", "free:b", "free:c"}, values: "1 2 3"},
		"one put to 'was'": {rivals: map[string]string{"b": "10"}, done: applied, end: undone, lost: []string{"free:b"}, values: "10 10 10"},
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			r.kernel.SetAround(c.do)
			got, err := r.Do(three)
			if err != nil || got.State != c.done {
				t.Fatalf("Do: %s, %v", got.State, err)
			}
			for name, value := range c.rivals {
				r.kernel.Set(name, value)
			}
			if got.State.Open() {
				moved, err := r.Undo(got.ID, "calm")
				if err != nil || len(moved) != 1 {
					t.Fatal(moved, err)
				}
				got = moved[0]
			}
			k := r.kernel
			values := strings.Join([]string{k.Value("a"), k.Value("b"), k.Value("c")}, " ")
			if got.State != c.end || values != c.values || cmp.Diff(c.lost, got.Yielded) != "" {
				t.Errorf("ended %s with %s, lost %v; want %s, %s, %v", got.State, values, got.Yielded, c.end, c.values, c.lost)
			}
			r.want(t, "65536", c.end)
		})
	}
}

// One key lost to a rival does not come back when the rival happens to write
// our value.
func TestLostKeyStaysLost(t *testing.T) {
	r := atRest(t)
	if _, err := r.Do(change(edit("free:a", "10", "11"), edit("free:b", "10", "21"))); err != nil {
		t.Fatal(err)
	}
	r.kernel.Set("b", "77")
	if moved, err := r.Recover(); err != nil || len(moved) != 1 || moved[0].State != applied {
		t.Fatal(moved, err)
	}
	r.kernel.Set("b", "21")
	r.restart(t)
	if _, err := r.Undo(1, ""); err != nil {
		t.Fatal(err)
	}
	if a, b := r.kernel.Value("a"), r.kernel.Value("b"); a != "10" || b != "21" {
		t.Errorf("a %s, b %s", a, b)
	}
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
