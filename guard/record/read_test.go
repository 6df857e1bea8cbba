package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// What is no record is refused, and a pipe is not waited for.
func TestReadRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	later, err := new(framer).append(append([]byte(nil), magic...), []byte(`S{"format":2}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):              "no such file",
		pipe:                                    "not a regular file",
		dir:                                     "nothing is recorded",
		write("empty", nil):                     "nothing is recorded",
		write("text", []byte("hello, world\n")): "no flight record",
		write("magic", magic):                   "nothing is recorded",
		write("later", later):                   "format 2, and this program reads 1",
		write("large", append(append([]byte(nil), magic...), binary.AppendUvarint(nil, 1<<40)...)): "no frame has this size",
	} {
		if r, err := Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", path, r, err, want)
		}
	}
	for _, id := range []string{"../record/20260102T030607Z", "", "x", "20260102T030607Z"} {
		if _, err := Find(dir, id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A frame that inflates to more than one may hold is not inflated any further.
func TestInflatesNoFurther(t *testing.T) {
	var f framer
	small := f.deflate(append([]byte{kindSegment}, make([]byte, 100<<20)...))
	file := append([]byte(nil), magic...)
	file, err := f.append(file, small[:min(len(small), worthwhile-1)])
	if err != nil {
		t.Fatal(err)
	}
	s := newScanner(bytes.NewReader(file), 0)
	for err = error(nil); err == nil; _, _, err = s.next() {
	}
	if s.inflated.Cap() > 4*maxFrame {
		t.Errorf("%d bytes for it", s.inflated.Cap())
	}
}

// Whatever a file holds, reading it ends, in an error or with what can be read.
func FuzzRead(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "record")
	g := newGateway(acting(131_072))
	record(f, dir, g, func() { g.run(25*time.Second, time.Second, 3000) })
	for _, name := range []string{segmentName(1)} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	list, err := Episodes(dir)
	if err != nil || len(list) != 1 {
		f.Fatal(err)
	}
	b, err := os.ReadFile(list[0].Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "record")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Read(path)
		if err != nil {
			return
		}
		n := 0
		for _, err := range r.Steps() {
			if err != nil {
				var d *Damage
				if !errors.As(err, &d) || d.Offset < 0 || d.Offset > int64(len(b)) {
					t.Fatalf("%v", err)
				}
			}
			if n++; n > len(b) {
				t.Fatal("more steps than bytes")
			}
		}
		for range Replay(r, nil) {
			if n--; n < -len(b) {
				t.Fatal("it never ends")
			}
		}
	})
}

// A record of a program that keeps other things in mind begins anew, and says so; one
// from a daemon's start is as good as ever.
func TestAnotherProgram(t *testing.T) {
	for name, fresh := range map[string]bool{"from the start": true, "from the middle": false} {
		g := newGateway(acting(262_144))
		learned(g)
		dir := filepath.Join(t.TempDir(), "record")
		ours := shape
		if fresh {
			g.state = policy.State{Baseline: g.state.Baseline}
		}
		shape = "of another program"
		record(t, dir, g, func() { g.run(40*time.Second, time.Second, 3000) })
		shape = ours
		r := read(t, dir)
		st, exact, why := r.Start()
		if exact != fresh || (why == "") != fresh || fresh && st != g.befores[0] || !fresh && st != (policy.State{}) {
			t.Errorf("%s: exact %v, %q", name, exact, why)
		}
		pairs := replay(t, r, nil)
		if fresh {
			sameAll(t, pairs)
		} else if pairs[0].Doubt == "" {
			t.Errorf("%s: no doubt", name)
		}
	}
}
