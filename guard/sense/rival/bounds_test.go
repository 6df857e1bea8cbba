package rival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is a machine with many processes, the last of which is the one sought.
func crowd(t testing.TB, n int) Root {
	t.Helper()
	dir := t.TempDir()
	for pid := 1; pid <= n; pid++ {
		at := filepath.Join(dir, strconv.Itoa(pid))
		err := errors.Join(os.Mkdir(at, 0o755),
			os.WriteFile(filepath.Join(at, "comm"), []byte("worker\n"), 0o600),
			os.WriteFile(filepath.Join(at, "cmdline"), []byte("/usr/bin/worker\x00--nothing-special\x00"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	return Root{Proc: dir, Files: dir}
}

func TestSearchIsBounded(t *testing.T) {
	r := crowd(t, mostProcesses+500)
	s := &search{ctx: context.Background(), root: r, filesLeft: mostFiles}
	if n := len(s.run()); n != mostProcesses {
		t.Errorf("%d processes", n)
	}
	began := time.Now()
	Suspects(t.Context(), r, maxFound("1"))
	if took := time.Since(began); took > 5*within {
		t.Errorf("took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Suspects(ctx, r, maxFound("1")); got == nil || len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestFilesAreBounded(t *testing.T) {
	f := tree{}
	for n := range mostFiles + 100 {
		f[fmt.Sprintf("etc/sysctl.d/%04d.conf", n)] = fmt.Sprintf("%s=%d\n", keyMax, n)
	}
	r := f.root(t)
	s := &search{ctx: context.Background(), root: r, filesLeft: mostFiles}
	systemd, _ := s.applied()
	read := 0
	for _, f := range systemd {
		if f.text != "" {
			read++
		}
	}
	if read == 0 || read >= mostFiles || s.filesLeft != 0 {
		t.Errorf("%d files read, %d left", read, s.filesLeft)
	}
}

// Of a file so many bytes are read, up to the end of a line.
func TestLargeFile(t *testing.T) {
	filler := strings.Repeat("# filler\n", mostBytes/9)
	line := keyMax + " = 100000\n"
	suspects(t, tree{"etc/sysctl.d/1.conf": line + filler}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/1.conf:1"), true}}, maxFound("100000"))
	suspects(t, tree{"etc/sysctl.d/1.conf": filler + line}, nil, maxFound("100000"))
}

// What would block is not waited for.
func TestNothingBlocks(t *testing.T) {
	f := runs("71", "sh", "sh").with(tree{"etc/sysctl.d/90-x.conf": keyMax + "=100000\n"})
	r := f.root(t)
	for _, path := range []string{"etc/sysctl.d/10-fifo.conf", "etc/rc.local", "proc/71/cmdline", "etc/tuned"} {
		path = filepath.Join(r.Files, path)
		_ = os.Remove(path)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := Suspects(t.Context(), r, maxFound("100000"))
	if len(got) != 1 || got[0].Name != anyFiles {
		t.Errorf("%+v", got)
	}
}

// A finder that hangs, as a file of a dead server does, costs no more than the time,
// and what was found before is returned.
func TestHangingFinder(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	found := make(chan []Suspect, 1)
	found <- []Suspect{{"a", "which x", true}}
	if got := collect(ctx, found); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// The machine may have no files at all.
func TestNothingThere(t *testing.T) {
	r := Root{Files: "/nowhere", Proc: "/nowhere", Sys: "/nowhere"}
	if got := Suspects(t.Context(), r, maxFound("100000"), Drift{Key: "limit:10.0.0.5/32"}); got == nil || len(got) > 0 {
		t.Errorf("%+v", got)
	}
	if got := Suspects(t.Context(), Root{}); got == nil || len(got) > 0 {
		t.Errorf("of no drift: %+v", got)
	}
}

// BenchmarkSuspects is a search of this machine, and of one with as many processes as
// are looked at.
func BenchmarkSuspects(b *testing.B) {
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			Suspects(b.Context(), Root{}, maxFound("1"))
		}
	})
	b.Run("crowd", func(b *testing.B) {
		r := crowd(b, mostProcesses)
		for b.Loop() {
			Suspects(b.Context(), r, maxFound("1"))
		}
	})
	b.Run("loaded", func(b *testing.B) {
		for b.Loop() {
			Loaded(Root{})
		}
	})
}

// Whatever is in the files, the sentence is one line of printable text.
func FuzzSuspects(f *testing.F) {
	f.Add("net.netfilter.nf_conntrack_max = 100000\n", "sh\x00-c\x00nf_conntrack_max=100000", "tuned", "100000")
	f.Add("-a/b.*[=1\n[sysctl]\ninclude=..", "\x1b\x00", "\xff\n", "\x1b]")
	f.Fuzz(func(t *testing.T, file, cmdline, comm, found string) {
		r := tree{
			"etc/sysctl.d/1.conf": file, "etc/cron.d/x": file, "etc/tuned/active_profile": "x", "etc/tuned/x/tuned.conf": file,
			"etc/nftables.conf": file, "proc/7/comm": comm + "\n", "proc/7/cmdline": cmdline, "proc/8/comm": "tuned\n", "proc/8/cmdline": "x",
		}.root(t)
		all := Suspects(t.Context(), r, maxFound(found), Drift{Key: "limit:x"})
		for _, c := range Sentence(all) {
			if !strconv.IsPrint(c) {
				t.Fatalf("%q in %q", c, Sentence(all))
			}
		}
	})
}
