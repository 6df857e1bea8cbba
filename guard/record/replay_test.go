package record

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// replay plays a record.
func replay(t testing.TB, r *Record, c *policy.Config) (pairs []Pair) {
	t.Helper()
	for p, err := range Replay(r, c) {
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// sameAll asserts that all was decided as it was recorded.
func sameAll(t testing.TB, pairs []Pair) {
	t.Helper()
	decided := 0
	for i, p := range pairs {
		decided += len(p.Replayed)
		if !p.Same || p.Estimated || p.Doubt != "" {
			t.Fatalf("step %d: doubt %q, estimated %v (-recorded +replayed):\n%s", i, p.Doubt, p.Estimated, cmp.Diff(p.Decisions, p.Replayed, byValue))
		}
	}
	if decided == 0 {
		t.Error("nothing was decided")
	}
}

func TestReplayIsTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	record(t, dir, g, g.flood)
	sameAll(t, replay(t, read(t, dir), nil))
	sameAll(t, replay(t, read(t, dir), &g.config))
	list, err := Episodes(dir)
	if err != nil || len(list) != 1 {
		t.Fatal(err)
	}
	sameAll(t, replay(t, read(t, list[0].Path), nil))
}

// With a lower ceiling it is what would have happened.
func TestReplayWithALowerCeiling(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	record(t, dir, g, g.flood)
	lower := acting(131_072)
	was := newGateway(lower) // the truth
	was.flood()

	pairs := replay(t, read(t, dir), &lower)
	parted, most, lost, truth := 0, 0, uint64(0), uint64(0)
	for i, p := range pairs {
		if p.Parted {
			parted++
		}
		if p.Estimated != (parted > 0 && !p.Parted) {
			t.Fatalf("step %d: estimated %v", i, p.Estimated)
		}
		most = max(most, p.Seen.Max)
		lost, truth = lost+Lost(p.Seen.Losses), truth+Lost(was.steps[i].Snapshot.Losses)
	}
	if parted != 1 || most != lower.RaiseMax.Ceiling {
		t.Errorf("parted %d times, max came to %d", parted, most)
	}
	if d := float64(lost)/float64(truth) - 1; d < -0.1 || d > 0.1 {
		t.Errorf("%d lost, it would have been %d", lost, truth)
	}
	if last := pairs[len(pairs)-1].Seen; last.Max != 65536 {
		t.Errorf("ends with %d", last.Max)
	}
}

// With a higher ceiling it takes what was refused.
func TestReplayWithAHigherCeiling(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(131_072))
	record(t, dir, g, g.flood)
	higher := acting(1 << 20)
	lost, recorded, most := uint64(0), uint64(0), 0
	for _, p := range replay(t, read(t, dir), &higher) {
		lost, recorded, most = lost+Lost(p.Seen.Losses), recorded+Lost(p.Snapshot.Losses), max(most, p.Seen.Count)
	}
	t.Logf("lost %d of %d, up to %d entries", lost, recorded, most)
	if lost*10 > recorded || most <= 131_072 {
		t.Errorf("lost %d of %d, up to %d entries", lost, recorded, most)
	}
}

// A reload has what was said be said again, wherever in a segment it comes.
func TestReplayOfReloads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	advising := policy.Default()
	g := newGateway(advising)
	reload := func(c policy.Config) {
		g.config = c
		g.state.Reconsider()
		g.r.Policy(&g.config)
	}
	record(t, dir, g, func() {
		g.run(30*time.Second, time.Second, 1000)
		g.run(30*time.Second, time.Second, 3000)
		reload(advising)
		g.run(10*time.Second, time.Second, 0)
		g.r.open = false // a new segment begins with the next
		reload(advising)
		g.run(10*time.Second, time.Second, 0)
		reload(acting(262_144))
		g.run(30*time.Second, time.Second, 1000)
	})
	all := steps(t, read(t, dir))
	reloads, advised := 0, 0
	for _, st := range all {
		if st.Reloaded {
			reloads++
		}
		for _, d := range st.Decisions {
			if d.Verb == policy.Advised {
				advised++
			}
		}
	}
	if reloads != 3 || advised < 3 {
		t.Errorf("%d reloads, advised %d times", reloads, advised)
	}
	sameAll(t, replay(t, read(t, dir), nil))
}
