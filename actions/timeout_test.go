package actions

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// elsewhere is another namespace than our own, in the fake kernel.
const elsewhere = "/run/netns/tenant"

// normals are the timeouts that a rig begins with, in both namespaces.
var normals = map[timeout.Class]string{timeout.TCPTimeWait: "120", timeout.TCPFinWait: "90", timeout.UDP: "30"}

// at is a change that brings the timeouts of both namespaces to a level.
func at(level int, edits ...ledger.Edit) ledger.Change {
	return ledger.Change{Measure: "shorten-timeouts", Episode: "e1", Level: level, Edits: edits}
}

func here(c timeout.Class, before, after string) ledger.Edit {
	return edit(TimeoutKey("", c), before, after)
}

func there(c timeout.Class, before, after string) ledger.Edit {
	return edit(TimeoutKey(elsewhere, c), before, after)
}

func levelOne() ledger.Change {
	return at(1, here(timeout.TCPTimeWait, "120", "90"), here(timeout.UDP, "30", "20"),
		there(timeout.TCPTimeWait, "120", "80"), there(timeout.TCPFinWait, "90", "70"))
}

func levelTwo() ledger.Change {
	return at(2, here(timeout.TCPTimeWait, "90", "60"), there(timeout.TCPTimeWait, "80", "50"), there(timeout.UDP, "30", "10"))
}

// shorten brings timeouts down in two levels, walks for each, and takes both back.
func shorten(w *world) {
	first, err := w.Do(levelOne())
	w.mend(err)
	second, err := w.Do(levelTwo())
	w.mend(err)
	for _, c := range []ledger.Change{first, second} {
		if c.ID > 0 {
			_, err = w.Walking(c.ID, true)
			w.mend(err)
			_, err = w.Walked(c.ID, ledger.Walk{Done: true, Read: 9, Classes: []ledger.Count{{Class: "udp_timeout", Deleted: 4}}})
			w.mend(err)
		}
	}
	if first.ID > 0 {
		_, err = w.Undo(first.ID, "calm")
		w.mend(err)
	}
}

// in reads a timeout of the fake kernel.
func (r *rig) in(namespace string, c timeout.Class) string {
	return r.kernel.Value(actionstest.In(namespace, c.Key()))
}

func TestTimeoutKeys(t *testing.T) {
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		for _, namespace := range []string{"", elsewhere, "/proc/1/task/2/ns/net", "/run/netns/a@b"} {
			key := TimeoutKey(namespace, c)
			if n, class, ok := ParseTimeoutKey(key); !ok || n != namespace || class != c {
				t.Errorf("%s parses as %q, %v, %t", key, n, class, ok)
			}
		}
	}
	if got := TimeoutKey(elsewhere, timeout.TCPTimeWait); got != "timeout:tcp_timeout_time_wait@"+elsewhere {
		t.Errorf("the key is %s", got)
	}
	for _, key := range []string{"", "timeout:", "timeout:@", "timeout:udp_timeout@", "timeout:nf_conntrack_udp_timeout", "sysctl:udp_timeout", "timeout:@" + elsewhere} {
		if _, _, ok := ParseTimeoutKey(key); ok {
			t.Errorf("%q parses", key)
		}
	}
}

func TestTimeoutsAreShortenedAndGivenBack(t *testing.T) {
	r := atRest(t)
	c, err := r.Do(levelOne())
	if err != nil || c.State != applied || c.Level != 1 {
		t.Fatal(c, err)
	}
	if a, b := r.in("", timeout.TCPTimeWait), r.in(elsewhere, timeout.TCPTimeWait); a != "90" || b != "80" {
		t.Errorf("%s here, %s there", a, b)
	}
	if c, err = r.Do(levelTwo()); err != nil || c.State != applied || r.in(elsewhere, timeout.TCPTimeWait) != "50" {
		t.Fatal(c, err)
	}
	if moved, err := r.Undo(1, "calm"); err != nil || len(moved) != 2 {
		t.Fatal(moved, err)
	}
	w := &world{rig: r, t: t}
	w.asItWas()
	r.want(t, r.max(), undone, undone)
}

func TestTimeoutsRefuse(t *testing.T) {
	for name, e := range map[string]ledger.Edit{
		"unknown class":     edit("timeout:tcp_timeout_nowhere", "120", "60"),
		"whole sysctl":      edit("timeout:"+timeout.UDP.Key(), "30", "20"),
		"another sysctl":    edit("timeout:max", "65536", "1"),
		"path in a class":   edit("timeout:udp_timeout/../max", "30", "20"),
		"no number":         here(timeout.UDP, "30", "soon"),
		"zero":              here(timeout.UDP, "30", "0"),
		"signed":            here(timeout.UDP, "30", "+20"),
		"not as printed":    here(timeout.UDP, "30", "020"),
		"too large":         here(timeout.UDP, "30", "2147483648"),
		"stale":             here(timeout.UDP, "31", "20"),
		"no such namespace": edit(TimeoutKey("/run/netns/nowhere", timeout.UDP), "30", "20"),
		"no such key":       here(timeout.GRE, "30", "20"),
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			c, err := r.Do(at(1, here(timeout.TCPTimeWait, "120", "90"), e))
			if err == nil || r.Changes() != nil || r.kernel.Writes() != nil {
				t.Fatalf("taken: %+v", c)
			}
			if gone := name == "no such namespace"; errors.Is(err, ErrGone) != gone {
				t.Errorf("refused with %v", err)
			}
			if stale := name == "stale"; errors.Is(err, ErrStale) != stale {
				t.Errorf("refused with %v", err)
			}
		})
	}
}

// What a rival has written to one of the keys is the rival's; the others are taken
// back.
func TestOneTimeoutIsARivals(t *testing.T) {
	for name, meet := range map[string]func(r *rig) error{
		"undo":    func(*rig) error { return nil },
		"recover": func(r *rig) error { _, err := r.Recover(); return err },
		"yield":   func(r *rig) error { _, err := r.Yield(1, "drift"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			if c, err := r.Do(levelOne()); err != nil || c.State != applied {
				t.Fatal(c, err)
			}
			r.kernel.Set(actionstest.In(elsewhere, timeout.TCPTimeWait.Key()), "77")
			if err := meet(r); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Undo(1, "calm"); err != nil {
				t.Fatal(err)
			}
			r.want(t, r.max(), undone)
			if d := cmp.Diff([]string{TimeoutKey(elsewhere, timeout.TCPTimeWait)}, r.Changes()[0].Yielded); d != "" {
				t.Error(d)
			}
			if a, b, c := r.in("", timeout.TCPTimeWait), r.in(elsewhere, timeout.TCPTimeWait), r.in(elsewhere, timeout.TCPFinWait); a != "120" || b != "77" || c != "90" {
				t.Errorf("the timeouts are %s, %s, %s", a, b, c)
			}
		})
	}
}

// inNamespace is a stack of two changes of one namespace.
func inNamespace(t *testing.T, r *rig) {
	t.Helper()
	for _, c := range []ledger.Change{
		at(1, there(timeout.TCPTimeWait, "120", "80"), there(timeout.UDP, "30", "20")),
		at(2, there(timeout.TCPTimeWait, "80", "40"), there(timeout.UDP, "20", "10")),
	} {
		if c, err := r.Do(c); err != nil || c.State != applied {
			t.Fatal(c, err)
		}
	}
}

func TestGoneNamespaceIsVoid(t *testing.T) {
	for name, call := range map[string]func(r *rig) ([]ledger.Change, error){
		"recover":         func(r *rig) ([]ledger.Change, error) { return r.Recover() },
		"undo the top":    func(r *rig) ([]ledger.Change, error) { return r.Undo(2, "calm") },
		"undo the bottom": func(r *rig) ([]ledger.Change, error) { return r.Undo(1, "calm") },
		"yield":           func(r *rig) ([]ledger.Change, error) { return r.Yield(1, "drift") },
		"restart": func(r *rig) ([]ledger.Change, error) {
			r.restart(t)
			return r.Recover()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			inNamespace(t, r)
			r.kernel.RemoveNamespace(elsewhere)
			moved, err := call(r)
			if err != nil || len(moved) == 0 {
				t.Fatal(moved, err)
			}
			for _, c := range moved {
				if c.State != ledger.Void || c.Note != "the namespace is gone" {
					t.Errorf("change %d is %s: %q", c.ID, c.State, c.Note)
				}
			}
			if _, err := r.Recover(); err != nil {
				t.Error(err)
			}
			r.want(t, r.max(), ledger.Void, ledger.Void)
			if n := len(r.kernel.Writes()); n != 4 {
				t.Errorf("%d writes: %v", n, r.kernel.Writes())
			}
		})
	}
}

// What is gone takes nothing with it that is not.
func TestHalfGoneChangeIsUndone(t *testing.T) {
	r := atRest(t)
	for _, c := range []ledger.Change{levelOne(), levelTwo()} {
		if c, err := r.Do(c); err != nil || c.State != applied {
			t.Fatal(c, err)
		}
	}
	r.kernel.RemoveNamespace(elsewhere)
	if moved, err := r.Undo(1, "calm"); err != nil || len(moved) != 2 {
		t.Fatal(moved, err)
	}
	r.want(t, r.max(), undone, undone)
	if a, b := r.in("", timeout.TCPTimeWait), r.in("", timeout.UDP); a != "120" || b != "30" {
		t.Errorf("the timeouts here are %s, %s", a, b)
	}
	for _, c := range r.Changes() {
		for _, e := range c.Edits {
			if lost := slices.Contains(c.Yielded, e.Key); lost != strings.HasSuffix(e.Key, elsewhere) {
				t.Errorf("change %d: lost %t of %s", c.ID, lost, e.Key)
			}
		}
	}
}

// A key that fails while its namespace is there is only waited for.
func TestFailingNamespaceIsNotGone(t *testing.T) {
	r := atRest(t)
	inNamespace(t, r)
	r.kernel.Remove(actionstest.In(elsewhere, timeout.UDP.Key()))
	if _, err := r.Undo(1, "calm"); !errors.Is(err, syscall.ENOENT) || errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	r.want(t, r.max(), applied, applied)
	r.kernel.Set(actionstest.In(elsewhere, timeout.UDP.Key()), "10")
	if _, err := r.Undo(1, "calm"); err != nil {
		t.Fatal(err)
	}
	r.want(t, r.max(), undone, undone)
}

// A namespace that goes while its timeouts are written, or given back.
func TestNamespaceGoesUnderTheWrite(t *testing.T) {
	for write := range 4 {
		r := atRest(t)
		left := write
		r.kernel.SetAround(func(_, _ string, do func() error) error {
			if left--; left < 0 {
				r.kernel.RemoveNamespace(elsewhere)
			}
			return do()
		})
		c, err := r.Do(at(1, there(timeout.TCPTimeWait, "120", "80"), there(timeout.UDP, "30", "20")))
		if early := write < 2; err != nil || early != (c.State == ledger.Void) {
			t.Fatalf("gone at write %d: %s, %v", write, c.State, err)
		}
		if c.State == applied {
			_, _ = r.Undo(c.ID, "calm") // may be told in the midst of it
		}
		if _, err := r.Recover(); err != nil || len(r.Open()) != 0 {
			t.Errorf("gone at write %d: open %v, %v", write, r.Open(), err)
		}
	}
}
