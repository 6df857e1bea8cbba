package record

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// frozen writes the file of an episode that is complete, of about so many bytes, most of
// which take no room.
func frozen(t *testing.T, dir, id string, first uint64, bytes int64) string {
	t.Helper()
	text, err := json.Marshal(summary{ID: id, First: first, Complete: true, Peak: 0.5, Begun: time.Unix(0, 0).UTC(), Ended: time.Unix(60, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	frame, err := new(framer).append(nil, append([]byte{kindEpisode}, text...))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, id+EpisodeSuffix)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(segmentOf(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(frame, bytes); err != nil {
		t.Fatal(err)
	}
	return path
}

func recordDirOf(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "record")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Of an episode that is over nothing but its end is read when the daemon starts and when
// all are listed.
func TestStartWithLargeEpisodes(t *testing.T) {
	dir := recordDirOf(t)
	const large = 16 << 30 // 10 s at least
	frozen(t, dir, "20260102T030522Z", 1, large)
	begun := time.Now()
	r, err := Open(dir, Options{Size: 64 << 30, Boot: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	shut(t, r)
	list, err := Episodes(dir)
	if took := time.Since(begun); err != nil || len(list) != 1 || list[0].Peak != 0.5 || list[0].Bytes < large || took > 5*time.Second {
		t.Errorf("%v for %+v: %v", took, list, err)
	}
}

// What ends like the summary of a complete episode and is none is read whole.
func TestEndsOfEpisodes(t *testing.T) {
	dir := recordDirOf(t)
	path := frozen(t, dir, "20260102T030522Z", 7, 6000)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	src := source{dir, filepath.Base(path)}
	if u, err := completeSummary(src); err != nil || u == nil || u.First != 7 {
		t.Fatalf("%+v: %v", u, err)
	}
	damaged := append([]byte(nil), whole...)
	damaged[len(damaged)-5] ^= 1
	open := strings.Replace(string(whole), `"Complete":true`, `"Complete":xxxx`, 1)
	for name, b := range map[string][]byte{
		"cut": whole[:len(whole)-1], "more": append(whole[:len(whole):len(whole)], 0), "damaged": damaged, "no JSON": []byte(open), "empty": nil,
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if u, err := completeSummary(src); err != nil || u != nil {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}

// Which episode is the oldest is not told by a clock that may have been wrong. A record
// that is to be smaller is so from the start.
func TestOldestEpisodeByClocksThatWereWrong(t *testing.T) {
	dir := recordDirOf(t)
	frozen(t, dir, "20990101T000000Z", 1, 200<<10)
	frozen(t, dir, "20260101T000000Z", 2, 200<<10)
	frozen(t, dir, "19700101T000017Z", 3, 200<<10)
	shut(t, open(t, dir, 1<<20))
	list, err := Episodes(dir)
	if err != nil || len(list) != 2 || list[0].ID != "19700101T000017Z" || list[1].ID != "20260101T000000Z" {
		t.Errorf("%+v: %v", list, err)
	}
}

// Two episodes that began at the same time by a clock that starts anew with each boot are
// not taken for one.
func TestSameNameAfterAnotherBoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	first := newGateway(acting(262_144))
	record(t, dir, first, first.flood)
	r, err := Open(dir, Options{Size: size, Boot: "another"})
	if err != nil {
		t.Fatal(err)
	}
	g := &recorded{newGateway(acting(131_072)), t, dir}
	g.r = r
	g.run(2*time.Minute, time.Second, 3)
	g.run(20*time.Second, 200*time.Millisecond, 20_000)
	g.run(10*time.Second, time.Second, -200_000)
	g.run(20*time.Minute, time.Second, 0)
	e := g.whole(0)
	if e.ID != first.changes[0].Episode {
		t.Errorf("%s and %s", e.ID, first.changes[0].Episode)
	}
}

// Many small segments take the room of their blocks.
func TestRoomOfSmallSegments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	for range 200 {
		r := open(t, dir, 1<<20)
		g := newGateway(policy.Default())
		g.r = r
		g.step(time.Second, 0)
		shut(t, r)
	}
	if _, n := sizes(t, dir, segmentSuffix); n > 1<<19/block {
		t.Errorf("%d segments", n)
	}
}

// beginning is how much a segment that begins now has before its first reading.
func (g *recorded) beginning() int {
	g.t.Helper()
	h := header{Format: format, Run: g.r.run, Boot: "boot", Wall: g.s.Wall, Config: appendPlain(nil, &g.config, true)}
	if err := h.setState(&g.state); err != nil {
		g.t.Fatal(err)
	}
	payload, err := h.payload()
	if err != nil {
		g.t.Fatal(err)
	}
	frame, err := new(framer).append(nil, payload)
	if err != nil {
		g.t.Fatal(err)
	}
	return len(magic) + len(frame)
}

// On a disk with hardly any room a few readings are written now and then: that is not said
// each time.
func TestHardlyAnyRoom(t *testing.T) {
	g := newRecorded(t, size)
	g.live(100, 3)
	room := fullDisk(t)
	limitFiles(t, uint64(g.beginning()+200)) // and some readings
	was, said := g.r.Err() != nil, 0
	for range 4000 {
		g.live(1, 3)
		if is := g.r.Err() != nil; is != was {
			was, said = is, said+1
		}
	}
	if n := g.r.Dropped(); said != 1 || n < 2000 || n > 3950 {
		t.Errorf("said %d times, %d readings dropped", said, n)
	}
	room()
	g.live(160, 3)
	if g.r.Err() == nil {
		t.Error("all is well at once")
	}
	g.live(100, 3)
	if err := g.r.Close(); err != nil {
		t.Error(err)
	}
}

// The values of an episode's beginning are those before anything was done.
func TestValuesBeforeAnythingIsDone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	asked := 0
	r, err := Open(dir, Options{Size: size, Boot: "boot", Values: func() map[string]string {
		asked++
		return map[string]string{"max": strconv.Itoa(g.s.Max)}
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.r = r
	g.flood()
	shut(t, r)
	list, err := Episodes(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: %v", list, err)
	}
	begin, end := read(t, list[0].Path).Values()
	if asked != 2 || begin["max"] != "65536" || end["max"] != "262144" {
		t.Errorf("asked %d times: %v, %v", asked, begin, end)
	}
}

// as has this thread use files as another user would, if it is root.
func as(t *testing.T, dir string, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do()
		return
	}
	if err := filepath.Walk(filepath.Dir(dir), func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, 65534, 65534)
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // the thread is not used again
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		do()
	}()
	<-done
}

// A file that can't be read keeps neither the others from being listed nor anything from
// being recorded.
func TestUnreadableEpisode(t *testing.T) {
	dir := recordDirOf(t)
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			break
		}
	}
	frozen(t, dir, "20260102T030522Z", 1, 5000)
	if err := os.Chmod(frozen(t, dir, "20260103T030522Z", 2, 5000), 0); err != nil {
		t.Fatal(err)
	}
	as(t, dir, func() {
		list, err := Episodes(dir)
		if len(list) != 1 || err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%+v: %v", list, err)
		}
		r, err := Open(dir, Options{Size: size, Boot: "boot"})
		if err != nil {
			t.Error(err)
			return
		}
		if err := r.Err(); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("opened: %v", err)
		}
		g := newGateway(policy.Default())
		g.r = r
		g.run(time.Minute, time.Second, 3)
		_ = r.Close()
		if r.Dropped() > 0 {
			t.Errorf("%d readings dropped", r.Dropped())
		}
	})
}

// What comes after an episode without a change is kept as well, and the one that is being
// recorded is not removed for lack of room.
func TestLeadOutOfAnEpisodeWithoutChanges(t *testing.T) {
	dir := recordDirOf(t)
	frozen(t, dir, "20990101T000000Z", 0, 600<<10)
	g := newGateway(policy.Default())
	g.config.Mode = policy.Observe
	g.r = open(t, dir, 1<<20)
	if _, err := os.Stat(filepath.Join(dir, "20990101T000000Z"+EpisodeSuffix)); err != nil {
		t.Error(err)
	}
	g.run(70*time.Second, time.Second, 3)
	g.run(60*time.Second, time.Second, 5000)
	g.run(70*time.Second, time.Second, -3000)
	g.run(30*time.Minute, time.Second, 0)
	shut(t, g.r)
	list, err := Episodes(dir)
	if err != nil || len(list) != 1 || list[0].Done > 0 || list[0].Ended.IsZero() {
		t.Fatalf("%+v: %v", list, err)
	}
	all := steps(t, read(t, list[0].Path))
	if out := all[len(all)-1].Snapshot.Wall.Sub(list[0].Ended); out < leadOut || out > 2*leadOut {
		t.Errorf("%v after it", out)
	}
}
