package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// recorded runs a gateway with a recorder until it has written each step.
type recorded struct {
	*gateway
	t   *testing.T
	dir string
}

func newRecorded(t *testing.T, size int64) *recorded {
	t.Helper()
	g := &recorded{newGateway(acting(131_072)), t, filepath.Join(t.TempDir(), "record")}
	g.r = open(t, g.dir, size)
	return g
}

// live is so many readings with so many entries more a second wanted.
func (g *recorded) live(n int, rate float64) {
	g.t.Helper()
	for range n {
		g.step(time.Second, rate)
		settled(g.t, g.r)
	}
}

// incident fills the table until it refuses connections, and empties it until all is over.
func (g *recorded) incident() {
	g.t.Helper()
	g.live(60, 5000)
	g.empty()
}

func (g *recorded) empty() {
	g.t.Helper()
	g.live(70, -3000)
	g.live(25*60, 0)
}

// fullDisk has no file written until it is called again.
func fullDisk(t *testing.T) (room func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { limitFiles(t, was.Cur) })
	limitFiles(t, 10)
	return func() { limitFiles(t, was.Cur) }
}

// whole ends the recording and asserts that all was recorded but so many readings, the
// episode as the policy saw it, and that no reading is missing in the episode's file if
// none is in the ring.
func (g *recorded) whole(dropped uint64) Episode {
	g.t.Helper()
	if err := g.r.Close(); err != nil || g.r.Dropped() != dropped {
		g.t.Errorf("%d readings dropped, want %d: %v", g.r.Dropped(), dropped, err)
	}
	list, err := Episodes(g.dir)
	if err != nil || len(list) != 1 {
		g.t.Fatalf("%d episodes: %v", len(list), err)
	}
	e := list[0]
	done, undone := 0, 0
	for _, ch := range g.changes {
		if done++; ch.State == policy.Undone {
			undone++
		}
	}
	if e.Peak != 1 || e.Lost == 0 || done == 0 || e.Done != done || e.Undone != undone || e.Ended.IsZero() {
		g.t.Errorf("%d changes, %d taken back: %+v", done, undone, e)
	}
	if g.sameSteps(e.Path); dropped == 0 {
		g.within(e)
	}
	return e
}

// sameSteps asserts that a file has what was recorded, one reading after the other.
func (g *recorded) sameSteps(path string) {
	g.t.Helper()
	at := map[time.Duration]Step{}
	for _, st := range g.steps {
		at[st.Now] = st
	}
	for _, st := range steps(g.t, read(g.t, path)) {
		want, got := at[st.Now], st
		want.Gap = got.Gap
		if d := cmp.Diff(want, got, byValue); d != "" {
			g.t.Fatalf("%s (-want +got):\n%s", path, d)
		}
	}
}

// within asserts that the file reaches from the lead-in to the end without a gap.
func (g *recorded) within(e Episode) {
	g.t.Helper()
	all := steps(g.t, read(g.t, e.Path))
	first := 0
	for g.steps[first].Now != all[0].Now {
		first++
	}
	equal(g.t, g.steps[first:first+len(all)], all)
	if lead, out := e.Begun.Sub(all[0].Snapshot.Wall), all[len(all)-1].Snapshot.Wall.Sub(e.Ended); lead < leadIn || out < leadOut {
		g.t.Errorf("%v before the episode, %v after it", lead, out)
	}
}

// A segment that came to nothing on a full disk is not missed by the next episode.
func TestNothingIsMissedAfterAFullDisk(t *testing.T) {
	g := newRecorded(t, size)
	g.live(100, 3)
	room := fullDisk(t)
	g.live(15, 3) // one attempt more fails in this time
	room()
	for g.r.Err() != nil {
		g.live(1, 3)
	}
	dropped := g.r.Dropped()
	g.live(5, 3)
	g.incident()
	g.whole(dropped)
}

// Nor is one that somebody has taken away.
func TestLeadInTakenAway(t *testing.T) {
	g := newRecorded(t, 1<<20)
	for g.live(1, 3); g.r.seq < 3; g.live(1, 3) {
	}
	g.live(5, 3)
	if err := os.Remove(filepath.Join(g.dir, segmentName(2))); err != nil {
		t.Fatal(err)
	}
	g.live(60, 5000)
	g.empty()
	if err := g.r.Close(); err != nil || g.r.Dropped() != 0 {
		t.Errorf("%d readings dropped: %v", g.r.Dropped(), err)
	}
	list, err := Episodes(g.dir)
	if err != nil || len(list) != 1 || list[0].Peak != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
}

// inTheWay puts a directory where the file of the next episode is to be.
func (g *recorded) inTheWay() (away func()) {
	g.t.Helper()
	id := ""
	ahead := *g.gateway
	ahead.r, ahead.steps, ahead.befores, ahead.changes = nil, nil, nil, nil
	for id == "" {
		ahead.step(time.Second, 5000)
		id = ahead.state.Episode.Name
	}
	path := filepath.Join(g.dir, id+EpisodeSuffix)
	if err := os.Mkdir(path, 0o700); err != nil {
		g.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			g.t.Fatal(err)
		}
	}
}

// unfrozen asserts that the file of an episode can't be written, and that the rest is.
func (g *recorded) unfrozen() {
	g.t.Helper()
	if err := g.r.Err(); err == nil || !strings.Contains(err.Error(), "freeze an episode in "+g.dir) || g.r.Dropped() > 0 {
		g.t.Errorf("%d readings dropped: %v", g.r.Dropped(), err)
	}
}

// While the file of an episode can't be made the ring goes on, and the file has all of it
// later, whenever that is.
func TestEpisodeFileInTheWay(t *testing.T) {
	for name, after := range map[string]func(*recorded){
		"a part of it":     func(g *recorded) { g.live(30, 5000); g.unfrozen() },
		"until it is over": func(g *recorded) { g.incident(); g.unfrozen() },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRecorded(t, size)
			g.live(70, 3)
			away := g.inTheWay()
			after(g)
			away()
			g.incident()
			g.live(11*60, 0) // another segment
			if err := g.r.Err(); err != nil {
				t.Error(err)
			}
			if list, err := Episodes(g.dir); err != nil || len(list) == 0 {
				t.Fatalf("%d episodes: %v", len(list), err)
			}
		})
	}
}

// A file of an episode that takes no more is gone on with when it does.
func TestEpisodeFileFull(t *testing.T) {
	g := newRecorded(t, 1<<20)
	g.live(70, 3)
	room := fullDisk(t)
	limitFiles(t, 50<<10) // a segment is smaller
	for g.live(60, 5000); g.r.Err() == nil; g.live(1, 3) {
		if len(g.steps) > 5000 {
			t.Fatal("it is never full")
		}
	}
	g.unfrozen()
	list, err := Episodes(g.dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
	if c, err := scan(source{name: list[0].Path}); err != nil || c.torn || c.behind != list[0].Bytes {
		t.Errorf("half of a segment is left behind %d of %d bytes: %v", c.behind, list[0].Bytes, err)
	}
	g.live(100, 100)
	g.unfrozen()
	room()
	g.live(60, 5000)
	g.empty()
	g.whole(0)
}

// What is listed of an episode takes in what was recorded of it before the disk was full,
// even if there was no file of it then.
func TestEpisodeBeforeAFullDisk(t *testing.T) {
	g := newRecorded(t, size)
	g.live(70, 3)
	away := g.inTheWay()
	g.live(60, 5000)
	g.unfrozen()
	room := fullDisk(t)
	g.live(20, -1000)
	away()
	room()
	for g.r.Err() != nil {
		g.live(1, -1000)
	}
	dropped := g.r.Dropped()
	g.empty()
	if e := g.whole(dropped); e.Begun.Sub(g.steps[0].Snapshot.Wall) > 2*time.Minute {
		t.Errorf("%+v", e)
	}
}

// What can't be added to the file of an episode that a killed process has left keeps
// nothing from being recorded.
func TestUnsettledEpisode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	killed(t, dir, 50)
	room := fullDisk(t)
	r := open(t, dir, size)
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "freeze an episode in "+dir) {
		t.Errorf("opened on a full disk: %v", err)
	}
	room()
	g := newGateway(acting(262_144))
	g.r = r
	g.run(time.Minute, time.Second, 3)
	settled(t, r)
	if err := r.Close(); r.Dropped() > 0 {
		t.Errorf("%d readings dropped: %v", r.Dropped(), err)
	}
	shut(t, open(t, dir, size))
	if list, err := Episodes(dir); err != nil || len(list) != 1 || list[0].Ended.IsZero() {
		t.Errorf("%+v: %v", list, err)
	}
}

// That a sync fails is said until syncs go well for a while, and no write says otherwise.
func TestSyncsThatFail(t *testing.T) {
	g := newRecorded(t, 1<<20)
	s := g.r.writer.syncer
	fails := 0
	s.sync = func(f *os.File) error {
		if fails++; fails%2 == 1 {
			return &os.PathError{Op: "sync", Path: f.Name(), Err: unix.EIO}
		}
		return f.Sync()
	}
	said := 0
	for range 4 * 3600 / 9 {
		g.step(9*time.Second, 3)
		settled(t, g.r)
		switch err := g.r.Err(); {
		case err == nil && said > 0:
			t.Fatal("all is well after a write")
		case err == nil:
		case !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "outlast a power cut"):
			t.Fatal(err)
		default:
			said++
		}
	}
	if said == 0 || g.r.Dropped() > 0 {
		t.Errorf("said %d times, %d readings dropped", said, g.r.Dropped())
	}
	g.r.mu.Lock()
	g.r.unsynced = time.Now().Add(-syncedAgain)
	g.r.mu.Unlock()
	s.synced(nil)
	if err := g.r.Close(); err == nil != (fails%2 == 0) {
		t.Errorf("after %d syncs: %v", fails, err)
	}
}
