package record

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// apart is a world that has gone its own way: here max is raised twice, then it was not.
func apart() (w *world, then *Step, c *policy.Config) {
	d := policy.Default()
	st := &Step{Now: time.Hour, Snapshot: policy.Snapshot{
		Count: 60_000, Max: 65_536, Buckets: 65_536, MemAvailable: 1 << 30, Timeouts: [policy.Timeouts]int{policy.TCPTimeWait: 120},
	}}
	w = newWorld(st)
	for _, to := range []int{131_072, 262_144} {
		w.carryOut([]policy.Decision{{Verb: policy.Do, Measure: policy.RaiseMax, From: w.s.Max, To: to}}, st.Now)
	}
	w.remember(st)
	return w, st, &d
}

// afterwards is a step a second after another, with its own snapshot.
func afterwards(st *Step, change func(*policy.Snapshot)) *Step {
	next := *st
	next.Now += time.Second
	change(&next.Snapshot)
	return &next
}

// What somebody else wrote then is written in the estimate, too, and what the guardian
// wrote then is not.
func TestEstimateHasTheRivals(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*policy.Snapshot)
		max    int
	}{
		"nobody": {func(*policy.Snapshot) {}, 262_144},
		"a rival": {func(s *policy.Snapshot) {
			s.Max, s.Buckets, s.Timeouts[policy.TCPTimeWait] = 100_000, 1024, 60
		}, 100_000},
		"the guardian": {func(s *policy.Snapshot) {
			s.Max = 90_000
			s.Changes = []policy.Change{{ID: 9, Measure: policy.RaiseMax, State: policy.Applied, Before: 65_536, After: 90_000}}
		}, 262_144},
	} {
		w, st, c := apart()
		s := w.see(afterwards(st, tc.change), c)
		if s.Max != tc.max || name == "a rival" && (s.Buckets != 1024 || s.Timeouts[policy.TCPTimeWait] != 60) {
			t.Errorf("%s: max %d, buckets %d, timeout %d", name, s.Max, s.Buckets, s.Timeouts[policy.TCPTimeWait])
		}
	}
}

// How far the walk for the same change has come is taken over.
func TestEstimateHasTheWalks(t *testing.T) {
	w, st, c := apart()
	w.carryOut([]policy.Decision{{
		Verb: policy.Do, Measure: policy.ShortenTimeouts, To: 1, Timeouts: []policy.TimeoutChange{{Name: policy.TCPTimeWait.String(), From: 120, To: 60}},
	}}, st.Now)
	ch := w.changes[len(w.changes)-1]
	walk := policy.Walk{Done: true, Deleted: 7}
	for _, state := range []policy.ChangeState{policy.Undone, policy.Applied} {
		s := w.see(afterwards(st, func(s *policy.Snapshot) {
			s.Changes = []policy.Change{{ID: 9, Measure: policy.ShortenTimeouts, State: state, Timeouts: ch.Timeouts, Walk: walk}}
		}), c)
		want := policy.Walk{}
		if state == policy.Applied {
			want = walk
		}
		if got := s.Changes[len(s.Changes)-1].Walk; got != want {
			t.Errorf("%s: %+v", state, got)
		}
	}
}

// Entries that a larger table took, where the recorded one refused them, take memory and
// leave as the others do.
func TestEstimateOfEntries(t *testing.T) {
	w, st, c := apart()
	full := afterwards(st, func(s *policy.Snapshot) { s.Count, s.Losses.Drop = 65_536, 20_000 })
	s := w.see(full, c)
	if s.Count != 85_536 || s.Losses.Drop != 0 || s.MemAvailable != 1<<30-20_000*int64(c.Memory.EntryBytes) {
		t.Fatalf("%d entries, %d dropped, %d bytes", s.Count, s.Losses.Drop, s.MemAvailable)
	}
	w.remember(full)
	half := afterwards(full, func(s *policy.Snapshot) { s.Count, s.Losses.Drop = 32_768, 0 })
	if s = w.see(half, c); s.Count < 42_000 || s.Count > 42_768 {
		t.Errorf("%d entries after half of them have left", s.Count)
	}
}

// Of what rests on each other all above goes when one is taken back.
func TestEstimateTakesBackAStack(t *testing.T) {
	w, st, c := apart()
	w.carryOut([]policy.Decision{{Verb: policy.Undo, Measure: policy.RaiseMax, Change: w.changes[0].ID}}, st.Now)
	s := w.see(afterwards(st, func(*policy.Snapshot) {}), c)
	if s.Max != 65_536 || s.Changes[0].State != policy.Undone || s.Changes[1].State != policy.Undone {
		t.Errorf("max %d: %+v", s.Max, s.Changes)
	}
}

// A policy that is another than then is in force from the first step: what was said under
// the other is said again.
func TestReplayReconsiders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	c := acting(262_144)
	c.Mode = policy.Advise
	g := newGateway(c)
	record(t, dir, g, func() {
		g.run(40*time.Second, time.Second, 3000)
		g.run(20*time.Minute, time.Second, 0) // segments later, in the same episode
	})
	r := read(t, filepath.Join(dir, segmentName(2)))
	other := c
	other.GrowBuckets.Hold++ // which changes nothing here
	st, exact, why := r.Start()
	if !exact || st.Episode.Name == "" {
		t.Fatalf("begins in %q: %s", st.Episode.Name, why)
	}
	again := st
	again.Reconsider()
	said := 0
	for i, p := range replay(t, r, &other) {
		var want []policy.Decision
		again, want = policy.Decide(again, p.Snapshot, other, p.Now)
		if !sameDecisions(want, p.Replayed) {
			t.Fatalf("step %d: %+v, want %+v", i, p.Replayed, want)
		}
		if !p.Same {
			said++
		}
	}
	if said == 0 {
		t.Error("nothing is said again")
	}
}

// What another policy has done ends with the boot.
func TestReplayOverABoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	for _, boot := range []string{"one", "two"} {
		r, err := Open(dir, Options{Size: size, Boot: boot})
		if err != nil {
			t.Fatal(err)
		}
		g := newGateway(acting(262_144))
		g.r = r
		g.run(70*time.Second, time.Second, 3)
		if boot == "one" {
			g.run(40*time.Second, time.Second, 5000)
		}
		shut(t, r)
	}
	lower := acting(131_072)
	booted := false
	estimated := map[bool]int{}
	for _, p := range replay(t, read(t, dir), &lower) {
		booted = booted || p.Gap == "the machine was booted"
		if p.Estimated {
			estimated[booted]++
		}
	}
	if !booted || estimated[false] == 0 || estimated[true] > 0 {
		t.Errorf("booted %v: %v readings estimated", booted, estimated)
	}
}

// What was left out before a segment is not known to the replay.
func TestFollows(t *testing.T) {
	before := header{Run: "a", Seq: 4}
	for name, h := range map[string]header{
		"":         {Run: "a", Seq: 5},
		"another":  {Run: "b", Seq: 5},
		"not next": {Run: "a", Seq: 6},
		"left out": {Run: "a", Seq: 5, Dropped: 1},
		"the same": {Run: "a", Seq: 4},
	} {
		if got := h.follows(&before); got != (name == "") {
			t.Errorf("%q: %v", name, got)
		}
	}
}
