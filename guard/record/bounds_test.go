package record

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// calm are readings of a gateway with nothing the matter: all that moves on a real one
// moves, by as much.
type calm struct {
	g   *gateway
	rng *rand.Rand
}

func newCalm(g *gateway) *calm { return &calm{g, rand.New(rand.NewPCG(1, 2))} }

// next is one reading, a second later. It decides nothing, so that it costs nothing.
func (c *calm) next(r *Recorder) {
	g := c.g
	g.now += time.Second + time.Duration(c.rng.IntN(2_000_000))
	g.s.Wall = g.s.Wall.Add(time.Second + time.Duration(c.rng.IntN(2_000_000)))
	g.s.Count += c.rng.IntN(2001) - 1000
	g.s.MemAvailable += int64(c.rng.IntN(4001)-2000) * 4096
	g.s.Losses = policy.Counters{Found: uint64(c.rng.IntN(5)), Invalid: uint64(c.rng.IntN(300))}
	r.Add(&g.state, &g.s, &g.config, g.now, nil)
}

// settled waits until all that was added is written.
func settled(t testing.TB, r *Recorder) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		r.mu.Lock()
		done := r.pending.empty() && !r.writing
		r.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it is never written")
		}
	}
}

// learned gives the state a past, which is the most of what a segment begins with.
func learned(g *gateway) {
	for range 3 {
		g.run(time.Hour, 9*time.Second, 0)
	}
	g.steps, g.befores = nil, nil
}

// A day of calm is small, and nothing is allocated.
func TestADayOfCalm(t *testing.T) {
	g := newGateway(policy.Default())
	learned(g)
	dir := filepath.Join(t.TempDir(), "record")
	r := open(t, dir, 64<<20)
	c := newCalm(g)
	const day = 86_400
	for i := range day {
		if c.next(r); i%1000 == 0 {
			settled(t, r)
		}
	}
	shut(t, r)
	total, n := sizes(t, dir, segmentSuffix)
	t.Logf("%.1f MiB a day, %.1f bytes a reading with all in %d segments", float64(total)/(1<<20), float64(total)/day, n)
	if total > day*30+int64(n)*16<<10 {
		t.Errorf("%d bytes a day", total)
	}
	count := 0
	for _, err := range read(t, dir).Steps() {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count != day {
		t.Errorf("%d readings, want %d", count, day)
	}
}

func TestCalmAllocatesNothing(t *testing.T) {
	g := newGateway(policy.Default())
	r := open(t, filepath.Join(t.TempDir(), "record"), size)
	c := newCalm(g)
	for range 100 {
		c.next(r)
		settled(t, r)
	}
	if n := testing.AllocsPerRun(200, func() { c.next(r) }); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
	shut(t, r)
}

// sizes is what files of a kind take, and how many there are.
func sizes(t testing.TB, dir, suffix string) (total int64, n int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), suffix) {
			total, n = total+info.Size(), n+1
		}
	}
	return total, n
}

// The ring and the episodes stay in their halves. Of an episode that is too large the
// beginning and the newest are kept.
func TestBoundsOfTheRecord(t *testing.T) {
	const small = 1 << 20
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(131_072))
	r := open(t, dir, small)
	g.r = r
	first := ""
	for i := range 8 {
		g.run(time.Minute, time.Second, 3)
		g.run(30*time.Second, 200*time.Millisecond, 20_000)
		c := newCalm(g)
		for range 9000 { // a long one, whose readings are not all alike
			c.next(r)
			if g.steps, g.befores = nil, nil; i == 0 {
				settled(t, r)
			}
		}
		g.want = 2000
		g.run(40*time.Minute, 5*time.Second, 0)
		settled(t, r)
		if list, err := Episodes(dir); err != nil || len(list) == 0 {
			t.Fatalf("no episode: %v", err)
		} else if first == "" {
			first = list[0].ID
		}
		ring, _ := sizes(t, dir, segmentSuffix)
		episodes, n := sizes(t, dir, EpisodeSuffix)
		if ring > small/2 || episodes > small/2 && n > 1 {
			t.Fatalf("%d bytes of the ring, %d of %d episodes", ring, episodes, n)
		}
	}
	shut(t, r)
	list, err := Episodes(dir)
	if err != nil || len(list) < 3 || list[0].ID == first {
		t.Fatalf("%d episodes from %s to %s: %v", len(list), list[0].ID, list[len(list)-1].ID, err)
	}
	shortened := 0
	for _, e := range list {
		if e.Bytes > small/8+small/32 {
			t.Errorf("%s takes %d bytes", e.ID, e.Bytes)
		}
		shortened += holdsTogether(t, e)
	}
	if shortened == 0 {
		t.Error("none was too large")
	}
}

// holdsTogether asserts that an episode's file has its beginning and its end, and counts
// what was left out between.
func holdsTogether(t *testing.T, e Episode) (gaps int) {
	t.Helper()
	all := steps(t, read(t, e.Path))
	opened, closed := false, false
	for _, st := range all {
		for _, d := range st.Decisions {
			opened, closed = opened || d.Verb == policy.Open, closed || d.Verb == policy.Close
		}
		if st.Gap != "" {
			gaps++
		}
	}
	if !opened || !closed || gaps > 1 {
		t.Errorf("%s: %d readings, opened %v, closed %v, %d gaps", e.ID, len(all), opened, closed, gaps)
	}
	return gaps
}

// limitFiles has this process write no file larger than that, as a disk that is full.
func limitFiles(t *testing.T, bytes uint64) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
}

// A disk that takes no more costs the readings until there is room, which are counted.
// What was written before and after stands, and so does an episode that was going on.
func TestFullDisk(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	defer limitFiles(t, was.Cur)

	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(131_072))
	r := open(t, dir, size)
	g.r = r
	g.run(40*time.Second, time.Second, 3000)
	settled(t, r)
	total, _ := sizes(t, dir, segmentSuffix)
	limitFiles(t, uint64(total)+1000)
	full := len(g.steps)
	for r.Err() == nil {
		g.step(time.Second, 1000)
		settled(t, r)
		if len(g.steps) > full+1000 {
			t.Fatal("the disk is never full")
		}
	}
	t.Log(r.Err())
	limitFiles(t, 10) // not even a new one can be begun
	for range 30 {
		g.step(time.Second, 0)
		settled(t, r)
	}
	limitFiles(t, was.Cur)
	g.run(20*time.Minute, time.Second, -1000)
	settled(t, r)
	if r.Err() != nil || r.Dropped() < 30 || r.Dropped() > 100 {
		t.Errorf("%d readings dropped: %v", r.Dropped(), r.Err())
	}
	dropped := int(r.Dropped())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	all := steps(t, read(t, dir))
	if len(all)+dropped != len(g.steps) {
		t.Errorf("%d readings, %d dropped, of %d", len(all), dropped, len(g.steps))
	}
	gaps := 0
	for _, st := range all {
		if st.Gap != "" {
			gaps++
			t.Log(st.Gap)
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
	sameAll(t, replay(t, read(t, dir), nil))
	list, err := Episodes(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
	if holdsTogether(t, list[0]) != 1 {
		t.Error("the episode has no gap")
	}
}

// One process writes at a time.
func TestHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	r := open(t, dir, size)
	if _, err := Open(dir, Options{Size: size}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("opened twice: %v", err)
	}
	shut(t, r)
	shut(t, open(t, dir, size))
	if _, err := Open(filepath.Join(dir, "no", "such"), Options{Size: size}); err == nil {
		t.Error("made where there is no state directory")
	}
	if _, err := Open(dir, Options{Size: 1000}); err == nil {
		t.Error("of a thousand bytes")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
}

func BenchmarkAdd(b *testing.B) {
	g := newGateway(policy.Default())
	r := open(b, filepath.Join(b.TempDir(), "record"), 64<<20)
	c := newCalm(g)
	b.ReportAllocs()
	for b.Loop() {
		c.next(r)
		if g.now%1000 == 0 {
			settled(b, r)
		}
	}
	settled(b, r)
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}
