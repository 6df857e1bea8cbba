package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A fault is what happens instead of one effect on the disk.
type fault struct {
	name string
	hit  func(p []byte, do func([]byte) error) error
}

var faults = []fault{
	{"fails, no effect", func([]byte, func([]byte) error) error { return unix.ENOSPC }},
	{"fails, took effect", func(p []byte, do func([]byte) error) error {
		return errors.Join(do(p), unix.EIO)
	}},
	{"fails half-way", func(p []byte, do func([]byte) error) error {
		return errors.Join(do(p[:len(p)/2]), unix.ENOSPC)
	}},
}

// at hits the nth effect, counted from the first, and lists all it saw.
type at struct {
	nth  int
	hit  func(p []byte, do func([]byte) error) error
	seen []Effect
}

func (a *at) around(e Effect, p []byte, do func([]byte) error) error {
	a.seen = append(a.seen, e)
	if len(a.seen)-1 == a.nth {
		return a.hit(p, do)
	}
	return do(p)
}

// small makes the script below compact after most appends.
var small = Options{Bound: 700, Keep: 2}

// story appends to a ledger, again after each failure as the daemon does, and
// calls check after every call with what counts as recorded.
func story(l *Ledger, check func(err error)) {
	again := func(f func() (Change, error)) {
		_, err := f()
		check(err)
		if err != nil {
			check(l.Probe())
			_, err = f()
			check(err)
		}
	}
	for range 4 {
		var c Change
		again(func() (_ Change, err error) { c, err = l.Intend(change("131072")); return c, err })
		again(func() (Change, error) { return l.Step(c.ID, Applied, "in force") })
		again(func() (Change, error) { return l.Step(c.ID, Undone, "calm") })
	}
}

// TestEveryFaultOnce hits every effect that the disk has in a story with every
// fault and holds the ledger against the view in memory at each point.
func TestEveryFaultOnce(t *testing.T) {
	for _, opt := range []Options{{}, small} {
		clean := &at{nth: -1}
		opt.Around = clean.around
		story(open(t, t.TempDir(), opt), func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
		if opt.Bound > 0 && len(slices.DeleteFunc(slices.Clone(clean.seen), func(e Effect) bool { return e != Rename })) < 3 {
			t.Fatalf("the story compacts too rarely: %v", clean.seen)
		}
		for n, e := range clean.seen {
			for _, f := range faults {
				t.Run(fmt.Sprintf("bound %d/%d %s/%s", opt.Bound, n, e, f.name), func(t *testing.T) { faultStory(t, opt, n, f) })
			}
		}
	}
}

func faultStory(t *testing.T, opt Options, n int, f fault) {
	a := &at{nth: n, hit: f.hit}
	opt.Around = a.around
	dir := t.TempDir()
	l := open(t, dir, opt)
	failures, lastID := 0, 0
	story(l, func(err error) {
		if (err == nil) != (l.Err() == nil) {
			t.Fatalf("the call says %v, Err %v", err, l.Err())
		}
		if err != nil {
			failures++
		}
		onDisk, readErr := Read(dir)
		if readErr != nil {
			t.Fatalf("after %v: %v", err, readErr)
		}
		// A compaction that failed after its rename leaves the shorter file.
		if err == nil && l.notices == nil {
			same(t, "on disk", onDisk, l.Changes())
		}
		l.notices = nil
	})
	for _, c := range l.Changes() {
		if c.ID <= lastID || c.State != Undone {
			t.Errorf("change %d after %d is %s", c.ID, lastID, c.State)
		}
		lastID = c.ID
	}
	if failures > 1 || lastID < 4 {
		t.Errorf("one fault made %d failures; the last change is %d", failures, lastID)
	}
	l.Close()
	same(t, "reopened", open(t, dir, Options{}).Changes(), l.Changes())
}

// TestKilledAtEveryPoint takes the directory as it is before, half-way through
// and after every effect: each is what a kill leaves there.
func TestKilledAtEveryPoint(t *testing.T) {
	for _, opt := range []Options{{}, small} {
		dir := t.TempDir()
		var l *Ledger
		var recorded []Change // what was promised to be on the disk
		killed := func(point string) {
			again := open(t, copyDir(t, dir), Options{Bound: opt.Bound, Keep: opt.Keep})
			promised(t, point, again.Changes(), recorded)
		}
		opt.Around = func(e Effect, p []byte, do func([]byte) error) error {
			killed(fmt.Sprint("before ", e))
			if len(p) > 0 {
				if err := do(p[:len(p)/2]); err != nil {
					return err
				}
				killed(fmt.Sprint("half-way through ", e))
				if e == WriteTemp {
					p = p[len(p)/2:]
				}
			}
			err := do(p)
			killed(fmt.Sprint("after ", e))
			return err
		}
		l = open(t, dir, opt)
		story(l, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			recorded = l.Changes()
		})
	}
}

// promised fails when a change of want is missing from got or less far, unless
// a compaction has dropped it; got may be one record ahead.
func promised(t *testing.T, point string, got, want []Change) {
	t.Helper()
	rank := map[State]int{Intended: 1, Applied: 2, Undone: 3}
	far := map[int]int{}
	for _, c := range got {
		far[c.ID] = rank[c.State]
	}
	for i, c := range want {
		if dropped := far[c.ID] == 0 && i < len(want)-1 && !c.State.Open(); !dropped && far[c.ID] < rank[c.State] {
			t.Fatalf("killed %s: change %d is %s in memory, rank %d on the disk", point, c.ID, c.State, far[c.ID])
		}
	}
}

func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestCompactionKeepsOpenAndNewest(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Bound: 2000, Keep: 3})
	first := must(t)(l.Intend(change("131072")))
	for range 50 {
		c := must(t)(l.Intend(change("131072")))
		must(t)(l.Step(c.ID, Failed, "refused"))
	}
	if size := len(contents(t, dir)); size > 6000 {
		t.Errorf("the file has grown to %d bytes", size)
	}
	l.Close()
	l = open(t, dir, Options{Bound: 1, Keep: 3})
	var ids []int
	for _, c := range l.Changes() {
		ids = append(ids, c.ID)
	}
	if want := []int{first.ID, 49, 50, 51}; !slices.Equal(ids, want) {
		t.Errorf("kept %v, want %v", ids, want)
	}
	must(t)(l.Step(first.ID, Failed, ""))
	l.Close()
	l = open(t, dir, Options{Bound: 1, Keep: 1})
	if c := must(t)(l.Intend(change("1"))); c.ID != 52 {
		t.Errorf("after compactions the next change is %d, want 52", c.ID)
	}
}

// An identifier stays used when all that was recorded of it has been dropped.
func TestIdentifiersAreNotReused(t *testing.T) {
	dir := plant(t, FileName, []byte(lineOf(t, record{Header: &header{Format: 1, Next: 700}})))
	if c := must(t)(open(t, dir, Options{}).Intend(change("1"))); c.ID != 700 {
		t.Errorf("the next change is %d, want 700", c.ID)
	}
}

// What somebody else does to the file while it is held is mended by the next
// append from memory.
func TestFileTamperedWith(t *testing.T) {
	for name, tamper := range map[string]func(path string) error{
		"removed":  os.Remove,
		"emptied":  func(p string) error { return os.Truncate(p, 0) },
		"cut":      func(p string) error { return os.Truncate(p, 100) },
		"replaced": func(p string) error { return errors.Join(os.Remove(p), os.WriteFile(p, []byte("other\n"), 0o600)) },
		"longer": func(p string) error {
			f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("noise\n")
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, Options{})
			fill(t, l)
			if err := tamper(l.dir.name(FileName)); err != nil {
				t.Fatal(err)
			}
			must(t)(l.Intend(change("262144")))
			got, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "on disk", got, l.Changes())
			if n := l.Notices(); (len(n) == 1) != (name != "longer") {
				t.Errorf("notices %q", n)
			}
		})
	}
}

// A record written to a file that was removed under the write does not count.
func TestFileRemovedWhileWriting(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.opt.Around = func(e Effect, p []byte, do func([]byte) error) error {
		if e == Append {
			return errors.Join(do(p), os.Remove(l.dir.name(FileName)))
		}
		return do(p)
	}
	if _, err := l.Intend(change("131072")); err == nil || l.Err() == nil || len(l.Changes()) != 0 {
		t.Fatalf("a record in no file counts: %v, %v", err, l.Changes())
	}
	l.opt.Around = nil
	c := must(t)(l.Intend(change("131072")))
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "on disk", got, []Change{c})
}

// A full disk at the start leaves a ledger that reads and heals by itself.
func TestOpensOnFullDisk(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	want, all := l.Changes(), contents(t, l.dir.path)
	dir := plant(t, FileName, append(all, "torn"...))
	full := true
	l = open(t, dir, Options{Around: func(_ Effect, p []byte, do func([]byte) error) error {
		if full {
			return unix.ENOSPC
		}
		return do(p)
	}})
	same(t, "on a full disk", l.Changes(), want)
	for range 3 {
		if err := l.Probe(); !errors.Is(err, unix.ENOSPC) || !errors.Is(l.Err(), unix.ENOSPC) {
			t.Fatalf("on a full disk Probe says %v, Err %v", err, l.Err())
		}
	}
	if n := l.Notices(); n != nil {
		t.Errorf("probing makes noise: %q", n)
	}
	full = false
	if err := l.Probe(); err != nil || l.Err() != nil {
		t.Fatalf("with room again: %v", err)
	}
	must(t)(l.Intend(change("131072")))
	if kept, err := os.ReadFile(filepath.Join(dir, tornName)); err != nil || string(kept) != "torn" {
		t.Errorf("torn tail kept: %q, %v", kept, err)
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.err = syscall.EIO
	before := contents(t, dir)
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	if !bytes.Equal(before, contents(t, dir)) {
		t.Error("the probe wrote to the ledger")
	}
}

func FuzzRead(f *testing.F) {
	l := open(f, f.TempDir(), Options{})
	fill(f, l)
	all := contents(f, l.dir.path)
	f.Add(all)
	f.Add(all[:len(all)-20])
	f.Add(append(bytes.Clone(all), all[len(all)-40:]...))
	f.Add(bytes.Replace(all, []byte("\n"), []byte(" "), 1))
	f.Add([]byte(strings.Repeat("\x00", 100)))
	f.Add([]byte(lineOf(f, record{Header: &header{Format: 9, Next: 1}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := read(bytes.NewReader(b))
		if err != nil {
			if d, ok := errors.AsType[*DamagedError](err); ok && (d.Offset != s.good || d.Line < 1) {
				t.Fatalf("damage at %d of line %d, good to %d", d.Offset, d.Line, s.good)
			}
			return
		}
		if s.good+int64(len(s.tail)) != int64(len(b)) {
			t.Fatalf("good %d and tail %d of %d bytes", s.good, len(s.tail), len(b))
		}
		if s.good == 0 {
			return
		}
		again, err := s.book.encoded()
		if err != nil {
			return // folded too long for one line
		}
		s2, err := read(io.MultiReader(bytes.NewReader(again), bytes.NewReader(s.tail)))
		if err != nil || s2.book.next != s.book.next {
			t.Fatalf("what was read does not read again: %v", err)
		}
		same(t, "read again", s2.book.changes, s.book.changes)
	})
}
