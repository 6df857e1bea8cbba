package actions

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

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

// What could not be taken back is tried again; what was lost meanwhile is not,
// even should it come to read as ours.
func TestUndoPartlyRefused(t *testing.T) {
	r := atRest(t)
	if _, err := r.Do(change(edit("free:a", "10", "11"), edit("free:b", "10", "21"))); err != nil {
		t.Fatal(err)
	}
	r.kernel.SetAround(func(name, _ string, do func() error) error {
		if name == "b" {
			r.kernel.Set("a", "77")
			return syscall.EINVAL
		}
		return do()
	})
	for range 2 { // the first loses a only to find out at the second
		if _, err := r.Undo(1, "calm"); !errors.Is(err, syscall.EINVAL) {
			t.Fatalf("an undo that the kernel refuses: %v", err)
		}
	}
	r.kernel.SetAround(nil)
	r.kernel.Set("a", "11")
	r.restart(t)
	moved, err := r.Recover()
	if err != nil || len(moved) != 1 || moved[0].State != undone || cmp.Diff([]string{"free:a"}, moved[0].Yielded) != "" {
		t.Fatal(moved, err)
	}
	if a, b := r.kernel.Value("a"), r.kernel.Value("b"); a != "11" || b != "10" {
		t.Errorf("a %s, b %s", a, b)
	}
}
