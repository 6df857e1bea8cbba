package record

import (
	"encoding/base64"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A disk that does not answer costs what does not fit into memory, which is said and
// counted, and makes a gap.
func TestDiskThatHangs(t *testing.T) {
	g := newRecorded(t, 64<<20)
	g.live(50, 3)
	noise := make([]byte, 100_000) // which does not deflate
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	answer := make(chan struct{})
	g.r.then(func(*writer) error { <-answer; return nil })
	added := 0
	for ; g.r.Err() == nil; added++ {
		g.s.Unable = base64.StdEncoding.EncodeToString(noise[added%2:])
		g.step(time.Second, 3)
		if added > 500 {
			t.Fatal("it takes all the memory there is")
		}
	}
	g.s.Unable = ""
	if err := g.r.Err(); !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
	for range 300 { // it is not tried again before it answers
		g.step(time.Second, 3)
	}
	if n := g.r.Dropped(); n < 300 {
		t.Errorf("%d readings dropped of 300", n)
	}
	close(answer)
	g.live(300, 3)
	if err := g.r.Err(); err != nil {
		t.Error(err)
	}
	dropped := int(g.r.Dropped())
	if err := g.r.Close(); err != nil {
		t.Fatal(err)
	}
	all := steps(t, read(t, g.dir))
	gaps := 0
	for _, st := range all {
		if st.Gap != "" {
			gaps++
		}
	}
	if gaps != 1 || len(all)+dropped != len(g.steps) {
		t.Errorf("%d gaps; %d readings and %d dropped of %d", gaps, len(all), dropped, len(g.steps))
	}
	for _, p := range replay(t, read(t, g.dir), nil) {
		if !p.Same {
			t.Error("what was left out is taken for nothing")
		}
	}
}

// attempts is how many segments were tried in so many readings.
func (g *recorded) attempts(n int) uint64 {
	g.t.Helper()
	was := g.r.seq
	g.live(n, 3)
	return g.r.seq - was
}

// A full disk is tried less and less often, and from the beginning after a time when it
// took all.
func TestBackOff(t *testing.T) {
	g := newRecorded(t, size)
	g.live(50, 3)
	room := fullDisk(t)
	first := g.attempts(75) // after 10, 20 and 40 s
	later := g.attempts(1600)
	if first != 3 || later < 9 || later > 11 {
		t.Errorf("tried %d times in 75 s, %d times in 1,600 s", first, later)
	}
	room()
	g.live(160+700, 3) // a whole segment
	fullDisk(t)
	if again := g.attempts(75); again < 2 {
		t.Errorf("tried %d times in 75 s after a whole segment", again)
	}
}

// What was half written when the disk was full is cut off.
func TestHalfWritten(t *testing.T) {
	g := newRecorded(t, size)
	g.live(50, 3)
	total, _ := sizes(t, g.dir, segmentSuffix)
	room := fullDisk(t)
	limitFiles(t, uint64(total)+10)
	g.s.Unable = strings.Repeat("x", 300)
	for g.r.Err() == nil {
		g.live(1, 3)
	}
	room()
	c, err := scan(source{g.dir, segmentName(1)})
	if err != nil || c.torn {
		t.Errorf("torn: %v", err)
	}
	_ = g.r.Close()
}

// A change that is never taken back does not keep the file of its episode open for ever.
func TestAftermath(t *testing.T) {
	g := newRecorded(t, size)
	g.config.RaiseMax.Hold = 100 * time.Hour
	g.live(70, 3)
	g.live(60, 5000)
	g.live(70, -3000)
	g.live(2*3600, 0)
	list, err := Episodes(g.dir)
	if err != nil || len(list) != 1 || list[0].Done == 0 || list[0].Undone > 0 {
		t.Fatalf("%+v: %v", list, err)
	}
	u, err := completeSummary(source{g.dir, list[0].ID + EpisodeSuffix})
	if err != nil || u == nil || u.At-u.EndedAt < aftermath || u.At-u.EndedAt > aftermath+segmentTime {
		t.Errorf("%+v: %v", u, err)
	}
	shut(t, g.r)
}

// What is written is synced: the segment at once and when it is finished, the file of an
// episode when it is begun and when it is over.
func TestSynced(t *testing.T) {
	g := newRecorded(t, size)
	var mu sync.Mutex
	synced := map[string]int{}
	g.r.writer.syncer.sync = func(f *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		synced[filepath.Base(f.Name())]++
		return f.Sync()
	}
	count := func(name string) int {
		for range 100 { // the syncer is beside
			mu.Lock()
			n := synced[name]
			mu.Unlock()
			if n > 0 {
				return n
			}
			time.Sleep(10 * time.Millisecond)
		}
		return 0
	}
	g.live(70, 3)
	if count(segmentName(1)) == 0 {
		t.Error("the segment is not synced")
	}
	g.live(60, 5000)
	list, err := Episodes(g.dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
	file := list[0].ID + EpisodeSuffix
	if count(file) == 0 {
		t.Error("the episode that has begun is not synced")
	}
	g.empty()
	shut(t, g.r)
	for seq := uint64(1); seq <= g.r.seq; seq++ {
		if synced[segmentName(seq)] == 0 {
			t.Errorf("segment %d is not synced", seq)
		}
	}
	if synced[file] < 2 || synced[segmentName(1)] < 2 {
		t.Errorf("synced %v", synced)
	}
}

// The values of an episode that goes on after a restart are those of its beginning.
func TestFirstValuesStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	for _, value := range []string{"first", "second"} {
		r, err := Open(dir, Options{Size: size, Boot: "boot", Values: func() map[string]string { return map[string]string{"x": value} }})
		if err != nil {
			t.Fatal(err)
		}
		g.r = r
		g.run(40*time.Second, time.Second, 3000)
		shut(t, r)
		g.state = policy.State{Baseline: g.state.Baseline}
	}
	list, err := Episodes(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
	if begin, _ := read(t, list[0].Path).Values(); begin["x"] != "first" {
		t.Errorf("%v", begin)
	}
}
