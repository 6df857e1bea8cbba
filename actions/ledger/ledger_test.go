package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const boot = "b1a7e0c4-0000-4000-8000-000000000001"

// ticking returns clocks that move by one second a reading.
func ticking() func() (time.Time, time.Duration) {
	wall, since := time.Unix(1_800_000_000, 0), time.Duration(0)
	return func() (time.Time, time.Duration) {
		since += time.Second
		return wall.Add(since), since
	}
}

func open(t testing.TB, dir string, opt Options) *Ledger {
	t.Helper()
	if opt.Now == nil {
		opt.Now = ticking()
	}
	l, err := OpenWith(dir, boot, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func change(after string) Change {
	return Change{
		Measure: "raise-max", Episode: "2026-11-20T10:00:00Z", Cause: "table-filling", Reason: "full in 9 s",
		Edits: []Edit{{Key: "sysctl:net.netfilter.nf_conntrack_max", Before: "65536", After: after}},
	}
}

func must(t testing.TB) func(Change, error) Change {
	return func(c Change, err error) Change {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func counts(class string, deleted, retimed int) []Count {
	return []Count{{Class: class, Deleted: deleted, Retimed: retimed}}
}

// fill records a change in each state, one of them judged, some walked for.
func fill(t testing.TB, l *Ledger) {
	t.Helper()
	ok := must(t)
	for _, path := range [][]State{
		{},
		{Applied},
		{Applied, Undoing},
		{Applied, Undoing, Undone},
		{Failed},
		{Applied, Yielded},
		{Void},
	} {
		intent := change("131072")
		intent.Level = len(path)
		c := ok(l.Intend(intent))
		for _, s := range path {
			c = ok(l.Step(c.ID, s, "because "+string(s)))
		}
		if c.State == Applied {
			ok(l.Judge(c.ID, "helped"))
		}
		if len(path) > 1 {
			ok(l.Walking(c.ID, true))
			ok(l.Walked(c.ID, Walk{Note: "cut short", Read: 7, Took: 0.25, Classes: counts("udp_timeout", 1, 2)}))
			ok(l.Walked(c.ID, Walk{Done: true, Read: 9, Took: 0.5, Classes: counts("udp_timeout", 10, 20)}))
		}
	}
}

func contents(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func plant(t testing.TB, name string, b []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), b, fileMode); err != nil {
		t.Fatal(err)
	}
	return dir
}

func same(t testing.TB, what string, got, want []Change) {
	t.Helper()
	if reflect.DeepEqual(want, got) { // cmp takes a thousand times as long
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func TestFoldSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	fill(t, l)
	want := l.Changes()
	var states []State
	for _, c := range want {
		states = append(states, c.State)
	}
	if d := cmp.Diff([]State{Intended, Applied, Undoing, Undone, Failed, Yielded, Void}, states); d != "" {
		t.Fatal(d)
	}
	if c := want[1]; c.Outcome != "helped" || c.Note != "because applied" || c.Since <= 0 || !c.Changed.After(c.Created) || c.Boot != boot {
		t.Fatalf("the applied change folded to %+v", c)
	}
	beside, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "read beside the holder", beside, want)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Options{})
	same(t, "reopened", again.Changes(), want)
	if c := must(t)(again.Intend(change("1"))); c.ID != len(want)+1 {
		t.Fatalf("the next change is %d", c.ID)
	}
	if n := again.Notices(); n != nil {
		t.Fatalf("an undamaged ledger gives notices: %q", n)
	}
}

func TestNoLedgerIsNoChanges(t *testing.T) {
	if c, err := Read(t.TempDir()); err != nil || c != nil {
		t.Fatalf("Read = %v, %v", c, err)
	}
}

func TestHeldLedgerNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	_, err := Open(dir, boot)
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.PID != os.Getpid() {
		t.Fatalf("Open of a held ledger: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
}

func TestStateOnceSharedStays(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	c := must(t)(l.Intend(change("131072")))
	shared, gen := l.Changes(), l.Generation()
	if allocs := testing.AllocsPerRun(10, func() { l.Changes() }); allocs != 0 {
		t.Errorf("Changes allocates %v times", allocs)
	}
	must(t)(l.Step(c.ID, Applied, ""))
	if shared[0].State != Intended || l.Changes()[0].State != Applied || l.Generation() == gen {
		t.Errorf("shared %s, now %s, generation %d → %d", shared[0].State, l.Changes()[0].State, gen, l.Generation())
	}
}

func TestRefusesSenselessSteps(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	c := must(t)(l.Intend(change("131072")))
	must(t)(l.Step(c.ID, Failed, "refused"))
	before := contents(t, l.dir.path)
	for name, try := range map[string]func() (Change, error){
		"step of a closed change":  func() (Change, error) { return l.Step(c.ID, Applied, "") },
		"step of no change":        func() (Change, error) { return l.Step(99, Applied, "") },
		"unknown state":            func() (Change, error) { return l.Step(c.ID, "gone", "") },
		"outcome of no change":     func() (Change, error) { return l.Judge(99, "helped") },
		"walk of no change":        func() (Change, error) { return l.Walked(99, Walk{Done: true}) },
		"walk for no change":       func() (Change, error) { return l.Walking(99, true) },
		"change without edits":     func() (Change, error) { return l.Intend(Change{Measure: "raise-max"}) },
		"change too long to store": func() (Change, error) { return l.Intend(change(strings.Repeat("9", maxLine))) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("%s is taken", name)
		}
		if l.Err() != nil {
			t.Errorf("%s: makes the ledger look unwritable: %v", name, l.Err())
		}
	}
	if !bytes.Equal(before, contents(t, l.dir.path)) {
		t.Error("a refused record was written")
	}
}

func TestStepOfAnotherBootKeepsSince(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	c := must(t)(l.Intend(change("131072")))
	l.Close()
	l, err := OpenWith(dir, "another-boot", Options{Now: func() (time.Time, time.Duration) { return time.Unix(2e9, 0), 5 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if v := must(t)(l.Step(c.ID, Void, "")); v.Since != c.Since || v.Boot != boot || v.State != Void {
		t.Fatalf("voided in another boot: %+v", v)
	}
}

// Every prefix of a ledger reads as the records that are whole in it, and a
// ledger opened on it goes on.
func TestEveryPrefixIsRead(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	all := contents(t, l.dir.path)
	whole := map[int][]Change{}
	for end := 1; end <= len(all); end++ {
		if all[end-1] != '\n' {
			continue
		}
		s, err := read(bytes.NewReader(all[:end]))
		if err != nil || s.good != int64(end) || s.tail != nil {
			t.Fatalf("whole lines to byte %d: good %d, tail %q, %v", end, s.good, s.tail, err)
		}
		whole[end] = s.book.changes
	}
	last := 0
	for end := range all {
		if _, ok := whole[end]; ok {
			last = end
		}
		s, err := read(bytes.NewReader(all[:end]))
		if d, ok := errors.AsType[*DamagedError](err); last == 0 && ok && d.Line == 1 && d.Offset == 0 {
			continue // the first line can't be torn
		}
		if err != nil || last == 0 {
			t.Fatalf("cut at byte %d: %v", end, err)
		}
		if s.good != int64(last) || len(s.tail) != end-last {
			t.Fatalf("cut at byte %d: good %d, tail of %d, want %d, %d", end, s.good, len(s.tail), last, end-last)
		}
		same(t, fmt.Sprintf("cut at byte %d", end), s.book.changes, whole[last])
	}
}

// A byte that has flipped before the last line is never taken for a torn tail.
func TestFlippedByteIsRefusedWhereItIs(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	all := contents(t, l.dir.path)
	last := bytes.LastIndexByte(all[:len(all)-1], '\n') + 1
	line, start := 1, 0
	for i := range last {
		for _, flip := range []byte{0x01, 0x20, 0x80, all[i] ^ '\n'} {
			bad := bytes.Clone(all)
			if bad[i] ^= flip; flip == 0 {
				continue
			}
			_, err := read(bytes.NewReader(bad))
			d, ok := errors.AsType[*DamagedError](err)
			if !ok || d.Line != line || d.Offset != int64(start) {
				t.Fatalf("byte %d ^ %#x (line %d from byte %d): %v", i, flip, line, start, err)
			}
		}
		if all[i] == '\n' {
			line, start = line+1, i+1
		}
	}
}

func TestTornTailIsKeptAside(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	want, all := l.Changes(), contents(t, l.dir.path)
	for name, tail := range map[string]string{
		"half a line":            `0123abcd {"step":{"id":1,"sta`,
		"whole line, wrong sum":  "00000000 {\"step\":{\"id\":1}}\n",
		"zeros":                  strings.Repeat("\x00", 300),
		"a record, newline zero": strings.TrimSuffix(lineOf(t, record{Judged: &verdict{ID: 1, Outcome: "helped"}}), "\n") + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			dir := plant(t, FileName, append(bytes.Clone(all), tail...))
			got, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "Read", got, want)
			l := open(t, dir, Options{})
			same(t, "Open", l.Changes(), want)
			if kept, err := os.ReadFile(filepath.Join(dir, tornName)); err != nil || string(kept) != tail {
				t.Errorf("kept aside: %q, %v", kept, err)
			}
			if n := l.Notices(); len(n) != 1 || !strings.Contains(n[0], tornName) {
				t.Errorf("notices %q", n)
			}
			if !bytes.Equal(contents(t, dir), all) {
				t.Error("the tail was not cut off")
			}
		})
	}
}

func lineOf(t testing.TB, r record) string {
	t.Helper()
	line, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

func TestRefusedLedgersStayAsTheyAre(t *testing.T) {
	head := lineOf(t, record{Header: &header{Format: 1, Next: 1}})
	step1 := lineOf(t, record{Step: &step{ID: 1, State: Applied}})
	for name, text := range map[string]string{
		"newer version":     lineOf(t, record{Header: &header{Format: 2, Next: 1}}) + "what follows may be anything\nat all\n",
		"empty":             "",
		"zeroed":            strings.Repeat("\x00", len(head)),
		"cut short at once": head[:15],
		"no newline":        strings.TrimSuffix(head, "\n"),
		"bare JSON":         "{}\n",
		"endless numbers":   lineOf(t, record{Header: &header{Format: 1, Next: maxID + 1}}),
		"a number too far":  head + numbered(t, maxID),
		"no header":         step1,
		"step of no change": head + step1,
		"second header":     head + head,
		"line too long":     head + strings.Repeat("x", maxLine) + "\n",
		"endless tail":      head + strings.Repeat("x", 2*maxLine),
	} {
		t.Run(name, func(t *testing.T) {
			dir := plant(t, FileName, []byte(text))
			_, err := Open(dir, boot)
			if err == nil {
				t.Fatal("opened")
			}
			_, damaged := errors.AsType[*DamagedError](err)
			if newer := errors.Is(err, errNewer); newer == damaged || newer != (name == "newer version") {
				t.Errorf("refused with %v", err)
			}
			if damaged && !strings.Contains(err.Error(), "move the file away") {
				t.Errorf("what to do is not said: %v", err)
			}
			if name == "zeroed" && !strings.Contains(err.Error(), "no checksum") {
				t.Errorf("what is wrong is not said: %v", err)
			}
			if _, readErr := Read(dir); readErr == nil || readErr.Error() != err.Error() {
				t.Errorf("Read says %v, Open %v", readErr, err)
			}
			if string(contents(t, dir)) != text {
				t.Error("the refused file was changed")
			}
		})
	}
}

// numbered is a change of that identifier.
func numbered(t testing.TB, id int) string {
	c := change("131072")
	c.ID, c.State = id, Undone
	return lineOf(t, record{Change: &c})
}

func TestFileModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	open(t, dir, Options{})
	for _, name := range []string{FileName, pidName} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode() != fileMode {
			t.Errorf("%s: mode %v, %v", name, st.Mode(), err)
		}
	}
}
