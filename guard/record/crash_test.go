package record

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// childDir has TestMain record into a directory until it is killed.
const childDir = "RECORD_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	if err := withoutLog(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child records a flood and then goes on. It says of each reading that was handed over.
func child(dir string) int {
	r, err := Open(dir, Options{Size: size, Boot: "boot"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	g := newGateway(acting(262_144))
	g.r = r
	for i := 0; ; i++ {
		g.step(time.Second, 3000)
		g.steps, g.befores = nil, nil
		fmt.Println(i + 1)
		time.Sleep(100 * time.Microsecond)
	}
}

// killed records by a process that is killed after so many readings, and returns how many
// were handed over.
func killed(t *testing.T, dir string, after int) (handed int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Error(err)
		}
		if handed = n; n == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("ended by itself")
	}
	return handed
}

// A killed process loses what it was just about to write at most, and the episode that
// it was in is closed at the next start. The one that goes on with it adds to it.
func TestKilled(t *testing.T) {
	for _, after := range []int{30, 50, 400} {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "record")
			handed := killed(t, dir, after)
			got := steps(t, read(t, dir))
			if n := handed - len(got); n > 2 {
				t.Errorf("%d readings handed over, %d lost", handed, n)
			}
			sameAll(t, replay(t, read(t, dir), nil))
			was, err := Episodes(dir)
			if err != nil || len(was) != 1 || !was[0].Ended.IsZero() {
				t.Fatalf("%+v: %v", was, err)
			}
			rec, err := Find(dir, was[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			open := steps(t, rec)
			equal(t, got[len(got)-len(open):], open)

			shut(t, func() *Recorder { r := mustOpen(t, dir); return r }())
			now, err := Episodes(dir)
			if err != nil || len(now) != 1 || now[0].Ended != got[len(got)-1].Snapshot.Wall {
				t.Fatalf("%+v: %v", now, err)
			}
			was[0].Ended, was[0].Bytes = now[0].Ended, now[0].Bytes
			if was[0] != now[0] {
				t.Errorf("%+v, while it was open %+v", now[0], was[0])
			}
			equal(t, open, steps(t, read(t, now[0].Path)))
		})
	}
}

func mustOpen(t testing.TB, dir string) *Recorder {
	t.Helper()
	return open(t, dir, size)
}

// Wherever a file was cut short, all that is whole before is read, and what is recorded
// next is behind it.
func TestTornTails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	record(t, dir, g, func() { g.run(20*time.Second, time.Second, 3000) })
	name := filepath.Join(dir, segmentName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0 // steps of a file cut shorter
	for cut := range whole {
		for _, tail := range [][]byte{nil, make([]byte, 300)} {
			if err := os.WriteFile(name, append(whole[:cut:cut], tail...), 0o640); err != nil {
				t.Fatal(err)
			}
			r, err := Read(name)
			if err != nil {
				if n > 0 {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				continue
			}
			got := steps(t, r)
			if len(got) < n || len(got) > n+1 {
				t.Fatalf("cut at %d: %d steps after %d", cut, len(got), n)
			}
			if n = len(got); n > 0 {
				equal(t, g.steps[n-1:n], got[n-1:])
			}
		}
	}
	if n != len(g.steps)-1 {
		t.Errorf("%d steps of all but the last byte, want %d", n, len(g.steps)-1)
	}
	// The tail is cut off at the next start.
	shut(t, open(t, dir, size))
	c, err := scan(source{dir, segmentName(1)})
	if err != nil || c.torn {
		t.Errorf("torn %v after a start: %v", err == nil && c.torn, err)
	}
}

// Damage costs a segment, and says where it is.
func TestDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	record(t, dir, g, g.flood)
	list, err := Episodes(dir)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(list[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "damaged.episode")
	for at := 0; at < len(whole); at += 211 {
		b := append([]byte(nil), whole...)
		b[at] ^= 0x40
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		before, told, later := 0, 0, 0
		for st, err := range r.Steps() {
			var d *Damage
			switch {
			case err == nil && told == 0:
				before++
			case err == nil:
				if later++; later == 1 && before > 0 && st.Gap == "" {
					t.Errorf("damage at %d: no gap behind it", at)
				}
			case errors.As(err, &d):
				if told++; d.Offset > int64(at) || d.Path != file {
					t.Fatalf("damage at %d: %v", at, err)
				}
			case err != nil:
				t.Fatal(err)
			}
		}
		if last := len(whole) - 500; told != 1 && at < last { // there it is taken for torn
			t.Fatalf("damage at %d told %d times", at, told)
		}
	}
}

// After a restart the same episode goes on in the same file.
func TestEpisodeGoesOnAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	g := newGateway(acting(262_144))
	record(t, dir, g, func() { g.run(40*time.Second, time.Second, 3000) })
	was, err := Episodes(dir)
	if err != nil || len(was) != 1 || was[0].Ended.IsZero() {
		t.Fatalf("%+v: %v", was, err)
	}
	g.state = policy.State{Baseline: g.state.Baseline}
	record(t, dir, g, func() {
		g.run(20*time.Second, time.Second, 10_000)
		g.run(10*time.Second, time.Second, -200_000)
		g.run(25*time.Minute, time.Second, 0)
	})
	now, err := Episodes(dir)
	if err != nil || len(now) != 1 {
		t.Fatalf("%+v: %v", now, err)
	}
	e := now[0]
	if e.Begun != was[0].Begun || !e.Ended.After(was[0].Ended) || e.Done < was[0].Done || e.Done != e.Undone || e.Peak < was[0].Peak {
		t.Errorf("%+v after %+v", e, was[0])
	}
	got := steps(t, read(t, e.Path))
	gaps := 0
	for _, st := range got {
		if st.Gap != "" {
			gaps++
		}
	}
	if gaps != 1 || len(got) < 60+5*60 {
		t.Errorf("%d gaps in %d steps", gaps, len(got))
	}
	sameAll(t, replay(t, read(t, dir), nil))
}
