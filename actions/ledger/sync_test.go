package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// recorder lists the effects that a ledger has.
func recorder(seen *[]Effect) Around {
	return func(e Effect, p []byte, do func([]byte) error) error {
		*seen = append(*seen, e)
		return do(p)
	}
}

// What must be on the disk before what.
func TestEffectsInOrder(t *testing.T) {
	var seen []Effect
	did := func(what string, want ...Effect) {
		t.Helper()
		if d := cmp.Diff(want, seen); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
		seen = nil
	}
	dir := t.TempDir()
	l := open(t, dir, Options{Around: recorder(&seen)})
	did("a new ledger", WriteTemp, SyncTemp, Rename, SyncDir)
	must(t)(l.Intend(change("131072")))
	did("an append", Append, Sync)
	l.err = unix.EIO
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	did("a probe", TryWrite)
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	did("a probe of a ledger that can be written")
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, FileName), append(contents(t, dir), "torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{Around: recorder(&seen)})
	did("a torn ledger", Sync, KeepTail, Truncate)
	l.compactAt = 1
	must(t)(l.Intend(change("131072")))
	did("an append and a compaction", Append, Sync, WriteTemp, SyncTemp, Rename, SyncDir)
}

// descriptors are ours of that path.
func descriptors(t *testing.T, path string) (fds []int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err != nil || to != path {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return fds
}

// insteadOf runs do while a descriptor is that of a pipe, which can't be synced.
func insteadOf(t *testing.T, fd int, do func([]byte) error) error {
	t.Helper()
	var pipe [2]int
	saved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err := errors.Join(err, unix.Pipe2(pipe[:], unix.O_CLOEXEC), unix.Dup3(pipe[0], fd, unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	got := do(nil)
	if err := errors.Join(unix.Dup3(saved, fd, unix.O_CLOEXEC), unix.Close(saved), unix.Close(pipe[0]), unix.Close(pipe[1])); err != nil {
		t.Fatal(err)
	}
	return got
}

// Each sync reaches the kernel, on the file that it should: it fails where that
// file can't be synced.
func TestSyncsAreReal(t *testing.T) {
	dir := t.TempDir()
	file := map[Effect]string{Sync: dir + "/" + FileName, SyncTemp: dir + "/" + tempName, SyncDir: dir}
	tried := map[Effect]int{}
	l := open(t, dir, Options{Around: func(e Effect, p []byte, do func([]byte) error) error {
		path, syncs := file[e]
		if !syncs {
			return do(p)
		}
		tried[e]++
		try := do
		for _, fd := range descriptors(t, path) {
			inner := try
			try = func([]byte) error { return insteadOf(t, fd, inner) }
		}
		if err := try(nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s of a pipe: %v", e, err)
		}
		return do(p)
	}})
	must(t)(l.Intend(change("131072")))
	if tried[Sync] != 1 || tried[SyncTemp] != 1 || tried[SyncDir] != 1 {
		t.Errorf("tried %v", tried)
	}
}

// A sync that has failed is not repeated, since the second would succeed with
// the record lost: what counts is written to a new file.
func TestFailedSyncIsNotRepeated(t *testing.T) {
	anew := []Effect{WriteTemp, SyncTemp, Rename, SyncDir}
	for name, at := range map[string]int{"of what was found": 0, "of an append": 2} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, Options{})
			fill(t, l)
			want := l.Changes()
			l.Close()
			var seen []Effect
			l = open(t, dir, Options{Around: func(e Effect, p []byte, do func([]byte) error) error {
				seen = append(seen, e)
				if len(seen)-1 == at {
					return errors.Join(do(p), unix.EIO)
				}
				return do(p)
			}})
			if at > 0 {
				if _, err := l.Intend(change("131072")); !errors.Is(err, unix.EIO) {
					t.Fatal(err)
				}
			}
			if !errors.Is(l.Err(), unix.EIO) || seen[at] != Sync {
				t.Fatalf("%v after %v", l.Err(), seen)
			}
			seen = slices.Repeat([]Effect{""}, at+1)
			if err := l.Probe(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(slices.Concat(anew, []Effect{TryWrite}), seen[at+1:]); d != "" {
				t.Errorf("probed by (-want +got):\n%s", d)
			}
			got, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "on disk", got, want)
			if n := l.Notices(); n != nil {
				t.Errorf("blames somebody else: %q", n)
			}
			seen = slices.Repeat([]Effect{""}, at+1)
			must(t)(l.Intend(change("131072")))
			if d := cmp.Diff([]Effect{Append, Sync}, seen[at+1:]); d != "" {
				t.Errorf("the next append (-want +got):\n%s", d)
			}
		})
	}
}

// Probe writes before it says that the disk can be written.
func TestProbeTriesToWrite(t *testing.T) {
	full := false
	l := open(t, t.TempDir(), Options{Around: func(e Effect, p []byte, do func([]byte) error) error {
		if full && e == TryWrite {
			return unix.ENOSPC
		}
		return do(p)
	}})
	full, l.err = true, unix.ENOSPC
	if err := l.Probe(); !errors.Is(err, unix.ENOSPC) || l.Err() == nil {
		t.Errorf("on a full disk Probe says %v, Err %v", err, l.Err())
	}
}

// A compaction that fails is not tried again at each append.
func TestFailedCompactionWaits(t *testing.T) {
	full, tries := false, 0
	l := open(t, t.TempDir(), Options{Bound: 8000, Keep: 2, Around: func(e Effect, p []byte, do func([]byte) error) error {
		if full && e == WriteTemp {
			tries++
			return unix.ENOSPC
		}
		return do(p)
	}})
	full = true
	appends := 0
	for ; l.good < 16000; appends++ {
		c := must(t)(l.Intend(change("131072")))
		must(t)(l.Step(c.ID, Failed, "refused"))
	}
	// From 8,000 bytes on, each 2,000.
	if tries < 3 || tries > 5 || len(l.Notices()) != tries {
		t.Errorf("tried %d times in %d appends", tries, 2*appends)
	}
	full = false
	for range 20 {
		c := must(t)(l.Intend(change("131072")))
		must(t)(l.Step(c.ID, Failed, "refused"))
	}
	if l.good >= 16000 {
		t.Errorf("not compacted with room again: %d bytes", l.good)
	}
}

func TestLeftOversAreRemoved(t *testing.T) {
	dir := plant(t, tempName, []byte("half a rewr"))
	if err := os.WriteFile(filepath.Join(dir, probeName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{}).Close() // writes a temporary file of its own
	for range 2 {
		all, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if strings.HasSuffix(e.Name(), ".tmp") || e.Name() == probeName {
				t.Errorf("%s is left", e.Name())
			}
		}
		if err := os.WriteFile(filepath.Join(dir, tempName), []byte("half a rewr"), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, dir, Options{}).Close() // has nothing to rewrite
	}
}

// A ledger that may only be read is read, and replaced when that can be done.
func TestRootReadOnlyDisk(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	want, dir := l.Changes(), t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, FileName), contents(t, l.dir.path), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{})
	same(t, "read-only", l.Changes(), want)
	if _, err := l.Intend(change("1")); !errors.Is(err, unix.EROFS) || !errors.Is(l.Probe(), unix.EROFS) {
		t.Errorf("a record on a read-only disk: %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	must(t)(l.Intend(change("1")))
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "on disk", got, l.Changes())
	l.Close()
}
