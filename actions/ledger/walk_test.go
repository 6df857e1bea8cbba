package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWalksAddUp(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	c := must(t)(l.Intend(change("131072")))
	if c.Walk != nil {
		t.Fatalf("a new change was walked for: %+v", c.Walk)
	}
	c = must(t)(l.Walked(c.ID, Walk{
		Note: "the table shrank", Read: 100, Took: 0.5, Walks: 7,
		Classes: []Count{{"udp_timeout", 1, 2}, {"icmp_timeout", 3, 4}},
	}))
	first := *c.Walk
	shared := l.Changes()
	must(t)(l.Step(c.ID, Applied, ""))
	must(t)(l.Step(c.ID, Yielded, "")) // a walk may end after its change
	c = must(t)(l.Walked(c.ID, Walk{Done: true, Read: 10, Took: 0.25, Classes: []Count{{"gre_timeout", 5, 0}, {"udp_timeout", 10, 20}}}))
	want := Walk{
		Done: true, Retimes: true, Walks: 2, Read: 110, Took: 0.75, Wall: time.Unix(1_800_000_005, 0).UTC(),
		Classes: []Count{{"udp_timeout", 11, 22}, {"icmp_timeout", 3, 4}, {"gre_timeout", 5, 0}},
	}
	if d := cmp.Diff(want, *c.Walk); d != "" {
		t.Errorf("two walks (-want +got):\n%s", d)
	}
	if d := cmp.Diff(first, *shared[0].Walk); d != "" || first.Walks != 1 || first.Classes[0].Deleted != 1 {
		t.Errorf("what a reader holds has changed: %s", d)
	}
}

// A walk that was begun is known to have been, whatever became of it.
func TestWalkThatIsNotHeardOfAgain(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	c := must(t)(l.Intend(change("131072")))
	c = must(t)(l.Walking(c.ID, true))
	if w := c.Walk; !w.Running || w.Done || !w.Retimes || w.Walks != 1 {
		t.Fatalf("begun: %+v", w)
	}
	l.Close() // killed
	l = open(t, dir, Options{Bound: 1})
	c = must(t)(l.Walking(c.ID, false))
	if w := c.Walk; !w.Running || !w.Retimes || w.Walks != 2 {
		t.Fatalf("begun again: %+v", w)
	}
	c = must(t)(l.Walked(c.ID, Walk{Done: true, Read: 5, Classes: counts("udp_timeout", 1, 0)}))
	if w := c.Walk; w.Running || !w.Done || !w.Retimes || w.Walks != 2 || w.Read != 5 {
		t.Errorf("ended: %+v", w)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "on disk", got, l.Changes())
}

// Compacting keeps what is folded, and what was walked after adds to it.
func TestCompactionKeepsWalks(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	intent := change("131072")
	intent.Level = 3
	c := must(t)(l.Intend(intent))
	must(t)(l.Step(c.ID, Applied, ""))
	must(t)(l.Walked(c.ID, Walk{Done: true, Read: 5, Classes: counts("udp_timeout", 1, 2)}))
	want := l.Changes()
	l.Close()
	l = open(t, dir, Options{Bound: 1})
	same(t, "compacted", l.Changes(), want)
	if text := string(contents(t, dir)); strings.Contains(text, `{"walked"`) || !strings.Contains(text, `"level":3`) {
		t.Fatalf("not compacted:\n%s", text)
	}
	must(t)(l.Walked(c.ID, Walk{Read: 6, Classes: counts("udp_timeout", 10, 20)}))
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if w := got[0].Walk; w.Walks != 2 || w.Read != 11 || w.Classes[0] != (Count{"udp_timeout", 11, 22}) || w.Done {
		t.Errorf("walked again after a compaction: %+v", w)
	}
}

// Since moves with each state, Made never.
func TestMadeStays(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	c := must(t)(l.Intend(change("131072")))
	made := c.Made
	if made != c.Since || made <= 0 {
		t.Fatalf("made at %v, since %v", made, c.Since)
	}
	c = must(t)(l.Step(c.ID, Applied, ""))
	if c.Made != made || c.Since <= made {
		t.Errorf("applied: made at %v, since %v", c.Made, c.Since)
	}
	l.Close()
	l = open(t, dir, Options{Bound: 1})
	if c, _ = l.Find(c.ID); c.Made != made {
		t.Errorf("compacted: made at %v, want %v", c.Made, made)
	}
}

// A ledger from before changes told when they were made, or their walks.
func TestOldLedgerIsRead(t *testing.T) {
	for since, want := range map[time.Duration]time.Duration{5 * time.Second: 5 * time.Second, 0: 1} {
		c := change("131072")
		c.ID, c.State, c.Boot, c.Since = 1, Applied, boot, since
		text := lineOf(t, record{Header: &header{Format: 1, Next: 2}}) + lineOf(t, record{Change: &c}) +
			lineOf(t, record{Step: &step{ID: 1, State: Undoing, Boot: boot, Since: 9 * time.Second}})
		if strings.Contains(text, "made") || strings.Contains(text, "walk") || strings.Contains(text, "level") {
			t.Fatalf("no old ledger:\n%s", text)
		}
		dir := plant(t, FileName, []byte(text))
		l := open(t, dir, Options{Bound: 1})
		if got := l.Changes()[0]; got.Made != want || got.Since != 9*time.Second || got.Walk != nil || got.Level != 0 {
			t.Errorf("read as %+v", got)
		}
		before := l.Changes()
		l.Close()
		same(t, "compacted", open(t, dir, Options{}).Changes(), before)
	}
}
