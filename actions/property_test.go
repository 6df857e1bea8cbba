package actions

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// A life is a rig to which anything happens in any order: changes, rivals,
// kills, full disks.
type life struct {
	*rig
	names  []string
	rivals map[string]string // what a rival wrote last, by name
	value  int               // never used twice; a rival's are odd
	full   bool
	dieIn  int    // effects until the process is killed, 0 never
	deny   string // the name that the kernel takes no writes of, if any
}

func newLife(t *rapid.T, dir string) *life {
	l := &life{names: []string{"a", "b", "c"}, rivals: map[string]string{}, value: 100}
	effect := func(disk bool, do func() error) error {
		if l.dieIn > 0 {
			if l.dieIn--; l.dieIn == 0 {
				panic(killed{})
			}
		}
		if disk && l.full {
			return syscall.ENOSPC
		}
		return do()
	}
	l.rig = offRig(dir, ledger.Options{Bound: 3000, Keep: 10, Around: func(_ ledger.Effect, p []byte, do func([]byte) error) error {
		return effect(true, func() error { return do(p) })
	}})
	l.kernel.SetAround(func(name, _ string, do func() error) error {
		if name == l.deny {
			return syscall.EACCES
		}
		return effect(false, do)
	})
	l.start(t)
	return l
}

// survive runs one call; when it kills the process, another starts.
func (l *life) survive(t *rapid.T, call func() error) {
	defer func() {
		l.dieIn = 0
		p := recover()
		if p == nil {
			return
		}
		if _, ok := p.(killed); !ok {
			panic(p)
		}
		l.restart(t)
		if _, err := l.Recover(); err != nil && !l.denied(err) {
			t.Fatalf("recover after a kill: %v", err)
		}
	}()
	err := call()
	switch {
	case err == nil, errors.Is(err, ErrStale), errors.Is(err, ErrNotOpen):
	case l.full && errors.Is(err, syscall.ENOSPC):
	case l.denied(err):
	default:
		t.Fatalf("full %v: %v", l.full, err)
	}
}

func (l *life) do(t *rapid.T) {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(l.names), 1, 3, rapid.ID).Draw(t, "names")
	var edits []ledger.Edit
	for _, name := range names {
		l.value += 2
		edits = append(edits, edit("free:"+name, l.kernel.Value(name), strconv.Itoa(l.value)))
	}
	l.survive(t, func() error { _, err := l.Do(change(edits...)); return err })
}

func (l *life) some(t *rapid.T) int {
	if len(l.Open()) == 0 {
		return 0
	}
	return rapid.SampledFrom(l.Open()).Draw(t, "change").ID
}

func (l *life) undo(t *rapid.T) {
	id := l.some(t)
	l.survive(t, func() error { _, err := l.Undo(id, "calm"); return err })
}

func (l *life) yield(t *rapid.T) {
	id := l.some(t)
	l.survive(t, func() error { _, err := l.Yield(id, "drift"); return err })
}

func (l *life) rival(t *rapid.T) {
	name := rapid.SampledFrom(l.names).Draw(t, "name")
	l.value += 2
	l.rivals[name] = strconv.Itoa(l.value + 1)
	l.kernel.Set(name, l.rivals[name])
}

// kill arms a kill within the next calls. On a full disk what is undone is
// known to memory alone; that case is the fault test's.
func (l *life) kill(t *rapid.T) {
	if !l.full {
		l.dieIn = rapid.IntRange(1, 12).Draw(t, "effects")
	}
}

func (l *life) disk(t *rapid.T) {
	l.full, l.dieIn = !l.full, 0
	if !l.full {
		l.survive(t, func() error { _, err := l.Probe(); return err })
	}
}

// refuse makes the kernel refuse a name, so that undoing it stays unfinished, or
// take it again.
func (l *life) refuse(t *rapid.T) {
	l.deny = rapid.SampledFrom(append([]string{""}, l.names...)).Draw(t, "denied")
}

func (l *life) denied(err error) bool { return l.deny != "" && errors.Is(err, syscall.EACCES) }

func (l *life) recovered(t *rapid.T) {
	l.survive(t, func() error { _, err := l.Recover(); return err })
	if l.full || l.deny != "" {
		return
	}
	l.standing(t)
	gen, writes := l.Generation(), len(l.kernel.Writes())
	if moved, err := l.Recover(); err != nil || moved != nil || l.Generation() != gen || len(l.kernel.Writes()) != writes {
		t.Fatalf("recovering twice is not recovering once: %v, %v", moved, err)
	}
}

// standing holds every open change against the kernel.
func (l *life) standing(t *rapid.T) {
	top := map[string]string{}
	for _, c := range l.Open() {
		if c.State != applied {
			t.Fatalf("change %d is %s after recovery", c.ID, c.State)
		}
		for _, e := range c.Ours() {
			if below, ok := top[e.Key]; ok && below != e.Before {
				t.Fatalf("change %d stands on %s of %s, below it is %s", c.ID, e.Before, e.Key, below)
			}
			top[e.Key] = e.After
		}
	}
	for key, after := range top {
		if got := l.kernel.Value(strings.TrimPrefix(key, "free:")); got != after {
			t.Fatalf("%s is applied as %s, the kernel reads %s", key, after, got)
		}
	}
}

// onlyOurs fails when a write replaced a value that was neither the one a
// change expected nor its own. Compaction forgets changes, so it looks at
// those still known.
func (l *life) onlyOurs(t *rapid.T, from int) int {
	writes := l.kernel.Writes()
	for _, w := range writes[from:] {
		if !slices.ContainsFunc(l.Changes(), func(c ledger.Change) bool {
			return slices.ContainsFunc(c.Edits, func(e ledger.Edit) bool {
				forth := w.Old == e.Before && w.New == e.After
				back := w.Old == e.After && w.New == e.Before
				return e.Key == "free:"+w.Name && (forth || back)
			})
		}) {
			t.Fatalf("%s: %s was written over %s by no change: %+v", w.Name, w.New, w.Old, l.Changes())
		}
	}
	return len(writes)
}

func TestAnyLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "life")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l := newLife(t, dir)
		defer func() { l.ledger.Close() }()
		checked := 0
		t.Repeat(map[string]func(*rapid.T){
			"do": l.do, "undo": l.undo, "yield": l.yield, "rival": l.rival,
			"kill": l.kill, "disk": l.disk, "refuse": l.refuse, "recover": l.recovered,
			"": func(t *rapid.T) { checked = l.onlyOurs(t, checked) },
		})
		l.end(t)
	})
}

// end takes everything back: each value is then the baseline, or what a rival
// wrote last.
func (l *life) end(t *rapid.T) {
	l.full, l.dieIn, l.deny = false, 0, ""
	if _, err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	l.restart(t)
	l.recovered(t)
	for _, c := range slices.Backward(slices.Clone(l.Open())) {
		if _, err := l.Undo(c.ID, "end"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.Open()); n != 0 {
		t.Fatalf("%d changes are open after all were undone", n)
	}
	for _, name := range l.names {
		want, ok := l.rivals[name]
		if !ok {
			want = "10"
		}
		if got := l.kernel.Value(name); got != want {
			t.Fatalf("%s ends as %s, want %s", name, got, want)
		}
	}
}
