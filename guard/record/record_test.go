package record

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// size is that of a record with segments that are not too small for an episode.
const size = 8 << 20

func open(t testing.TB, dir string, size int64) *Recorder {
	t.Helper()
	r, err := Open(dir, Options{Size: size, Boot: "boot", Values: values})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func values() map[string]string { return map[string]string{"net.netfilter.nf_conntrack_max": "65536"} }

// record has a gateway recorded for as long as it lives.
func record(t testing.TB, dir string, g *gateway, live func()) {
	t.Helper()
	g.r = open(t, dir, size)
	g.r.Policy(&g.config)
	live()
	shut(t, g.r)
}

func shut(t testing.TB, r *Recorder) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.Dropped(); n > 0 {
		t.Fatalf("%d readings dropped", n)
	}
}

// steps reads all.
func steps(t testing.TB, r *Record) (list []Step) {
	t.Helper()
	for st, err := range r.Steps() {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, st)
	}
	return list
}

func read(t testing.TB, path string) *Record {
	t.Helper()
	r, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// equal asserts that steps are as they were.
func equal(t testing.TB, want, got []Step) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i := range want {
		if d := cmp.Diff(want[i], got[i], byValue); d != "" {
			t.Fatalf("step %d of %d (-want +got):\n%s", i, len(want), d)
		}
	}
}

func TestFlood(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	record(t, dir, g, g.flood)

	ring := read(t, dir)
	equal(t, g.steps, steps(t, ring))
	if st, exact, why := ring.Start(); !exact || st != g.befores[0] {
		t.Errorf("begins with another state: exact %v, %s", exact, why)
	}

	list, err := Episodes(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d episodes: %v", len(list), err)
	}
	e := list[0]
	t.Logf("%+v", e)
	if e.Peak != 1 || e.Lost == 0 || e.Done < 2 || e.Undone != e.Done || e.Cause != policy.TableFull || e.Ended.Sub(e.Begun) < 5*time.Minute {
		t.Errorf("%+v", e)
	}
	rec, err := Find(dir, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	got := steps(t, rec)
	equal(t, g.steps[:len(got)], got)
	last := got[len(got)-1]
	if open := got[0].Snapshot.Wall; e.Begun.Sub(open) < leadIn {
		t.Errorf("begins at %v, and the episode at %v", open, e.Begun)
	}
	for _, ch := range last.Snapshot.Changes {
		if ch.State != policy.Undone {
			t.Errorf("ends before change %d was taken back", ch.ID)
		}
	}
	begin, end := rec.Values()
	if d := cmp.Diff([]map[string]string{values(), values()}, []map[string]string{begin, end}); d != "" {
		t.Errorf("values (-want +got):\n%s", d)
	}
}
