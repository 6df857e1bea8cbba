package lab

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseStartTime(t *testing.T) {
	rest := " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for stat, want := range map[string]uint64{
		"42 (sh) S" + rest:               4711,
		"42 (a b) R (c) S" + rest:        4711,
		"42 (odd) name) D" + rest + "\n": 4711,
	} {
		if got, err := parseStartTime([]byte(stat)); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", stat, got, err, want)
		}
	}
	if _, err := parseStartTime([]byte("42 (sh) Z" + rest)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a zombie: %v, want fs.ErrNotExist", err)
	}
	for _, bad := range []string{"", "42", "42 (sh) S 1 2", "42 (sh) S" + strings.Replace(rest, "4711", "x", 1)} {
		if _, err := parseStartTime([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// A process is told from a later one with its pid.
func TestProcessAlive(t *testing.T) {
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	later, rebooted := me, me
	later.Start++
	rebooted.Boot = "another"
	for name, tc := range map[string]struct {
		p    process
		want bool
	}{"me": {me, true}, "my pid used again": {later, false}, "another boot": {rebooted, false}} {
		if got, err := tc.p.alive(); err != nil || got != tc.want {
			t.Errorf("%s: alive = %v, %v, want %v", name, got, err, tc.want)
		}
	}
}

// dead is a process that has ended and whose pid was used by nobody since.
func dead(t *testing.T) process {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return process{PID: cmd.Process.Pid, Start: start, Boot: me.Boot}
}

// leave writes a claim as if owner had died with it.
func leave(t *testing.T, owner process, before *Sizes, dir string) *claim {
	t.Helper()
	c, err := newClaim()
	if err != nil {
		t.Fatal(err)
	}
	c.Owner, c.Before, c.Dir = owner, before, dir
	if err := c.write(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.drop() })
	return c
}

// A lab that is alive keeps everything; a dead one's directory goes, twice over
// without an error.
func TestRootCleanupTellsTheLivingFromTheDead(t *testing.T) {
	g := newTestGateway(t, Options{})
	dir := filepath.Join(t.TempDir(), "left")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	leave(t, dead(t), nil, dir)
	done, err := Cleanup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(done.Live, os.Getpid()) || !slices.Equal(done.Dirs, []string{dir}) {
		t.Errorf("cleaned %+v, want only %s gone and this process left alone", done, dir)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
	if _, err := os.Stat(g.Router.Path()); err != nil {
		t.Errorf("a live lab's namespace: %v", err)
	}
	if done, err := Cleanup(t.Context()); err != nil || len(done.Dirs) != 0 {
		t.Errorf("again: %+v, %v, want nothing done", done, err)
	}
}

// Lower puts back what a dead lab left before it writes down its own originals.
func TestRootLowerSettlesTheDead(t *testing.T) {
	outer := lower(t, 300_000) // the lock, while this test plays the dead lab
	leave(t, dead(t), &outer.Before, "")
	if err := settleSizes(); err != nil {
		t.Fatal(err)
	}
	if now, err := ReadSizes(); err != nil || now != outer.Before {
		t.Errorf("sizes are %+v, %v, want %+v", now, err, outer.Before)
	}
}

// A claim of an earlier boot says nothing about the values of this one.
func TestRootCleanupIgnoresOtherBoots(t *testing.T) {
	outer := lower(t, 300_000)
	owner := dead(t)
	owner.Boot = "another"
	c := leave(t, owner, &Sizes{Max: 1, Buckets: 1024}, "")
	if err := settleSizes(); err != nil {
		t.Fatal(err)
	}
	if now, err := ReadSizes(); err != nil || now.Max != 300_000 || now.Buckets != outer.Before.Buckets {
		t.Errorf("sizes are %+v, %v, want them untouched", now, err)
	}
	if _, err := os.Stat(c.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the claim is still there: %v", err)
	}
}

func TestRootReleaseSaysWhatItFound(t *testing.T) {
	h := lower(t, 5000)
	if now, err := ReadSizes(); err != nil || now.Max != 5000 {
		t.Fatalf("sizes are %+v, %v, want max 5000", now, err)
	}
	if err := h.Set(7000); err != nil {
		t.Fatal(err)
	}
	r, err := h.Release()
	if err != nil || r.Found.Max != 7000 || r.Now != h.Before {
		t.Errorf("released %+v, %v, want 7000 found and %+v now", r, err, h.Before)
	}
	if again, err := h.Release(); err != nil || again != r {
		t.Errorf("released again %+v, %v, want the same", again, err)
	}
}

func TestRootLowerRefusesNoLimit(t *testing.T) {
	if h, err := Lower(t.Context(), 0); err == nil {
		_, _ = h.Release()
		t.Error("0 is no limit at all, and was set")
	}
}

func TestClaimIsPlain(t *testing.T) {
	c := claim{Owner: process{1, 2, "b"}, Seq: 3, Namespaces: []string{"glab-1-3-gw"}, Before: &Sizes{4, 5}}
	text, err := json.Marshal(c)
	want := `{"owner":{"pid":1,"start":2,"boot":"b"},"seq":3,"namespaces":["glab-1-3-gw"],"before":{"max":4,"buckets":5}}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}
