package sense

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestRootReadsItsNamespace(t *testing.T) {
	path := netnstest.New(t)
	s := sensor(t, path)
	first := read(t, s)
	if first.Count != 0 || first.Losses != (policy.Counters{}) {
		t.Errorf("a new namespace has %d entries and lost %+v", first.Count, first.Losses)
	}
	inside(t, path, func() error { netnstest.Track(t); netnstest.SendUDP(t, 50); netnstest.SendInvalid(t, 100); return nil })
	second := read(t, s)
	if second.Count != 50 || second.Losses.Invalid < 100 {
		t.Errorf("%d entries and %d invalid packets, want 50 and 100 or more", second.Count, second.Losses.Invalid)
	}
	second.Losses.Invalid = 0
	if second.Losses != (policy.Counters{}) {
		t.Errorf("lost %+v besides", second.Losses)
	}
	if third := read(t, s); third.Count != 50 || third.Losses != (policy.Counters{}) {
		t.Errorf("idle: %d entries, lost %+v", third.Count, third.Losses)
	}
}

// max and buckets are global. Another test may be changing them, so a value
// counts only if it is the same before and after the reading.
func TestRootReadsTheGlobalFigures(t *testing.T) {
	s := sensor(t, netnstest.New(t))
	for range 1000 {
		before := globals(t)
		snapshot := read(t, s)
		if before != globals(t) {
			continue
		}
		if got := [2]int{snapshot.Max, snapshot.Buckets}; got != before {
			t.Errorf("max and buckets %v, want %v", got, before)
		}
		if snapshot.MemAvailable < 1<<20 {
			t.Errorf("%d bytes available", snapshot.MemAvailable)
		}
		return
	}
	t.Error("max and buckets never stood still")
}

// Each namespace has timeouts of its own.
func TestRootReadsTheTimeouts(t *testing.T) {
	path := netnstest.New(t)
	s := sensor(t, path)
	there := read(t, s).Timeouts
	want := [policy.Timeouts]int{}
	inside(t, path, func() error {
		for x := range policy.Timeouts {
			key := "net.netfilter.nf_conntrack_" + x.String()
			if _, err := sysctl.Read(key); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			want[x] = 1000 + int(x)
			if err := sysctl.Write(key, strconv.Itoa(want[x])); err != nil {
				return err
			}
		}
		return nil
	})
	if want[policy.TCPTimeWait] == 0 || want[policy.UDP] == 0 {
		t.Fatal("this kernel has no timeouts")
	}
	got := read(t, s).Timeouts
	if got != want {
		t.Errorf("read %v, want %v", got, want)
	}
	for x := range policy.Timeouts {
		if (there[x] == 0) != (want[x] == 0) || there[x] == want[x] {
			t.Errorf("%s was %d before", x, there[x])
		}
	}
}

func TestRootReadAllocatesNothing(t *testing.T) {
	s := sensor(t, netnstest.New(t))
	var snapshot policy.Snapshot
	var failed error
	n := testing.AllocsPerRun(1000, func() { failed = errors.Join(failed, s.Read(&snapshot)) })
	if n != 0 || failed != nil {
		t.Errorf("%v allocations per reading, %v", n, failed)
	}
}

// A path that names no namespace any more leaves the one that is open; another
// one in its place is read.
func TestRootFollowsThePath(t *testing.T) {
	name := filepath.Join(t.TempDir(), "gateway")
	first, drop := netnstest.Hold(t)
	second := netnstest.New(t)
	bind(t, first, name)
	s := sensor(t, name)
	inside(t, first, func() error { netnstest.Track(t); netnstest.SendUDP(t, 20); return nil })
	inside(t, second, func() error { netnstest.Track(t); netnstest.SendUDP(t, 30); return nil })
	counts := func(when string, want int) {
		t.Helper()
		for range 3 {
			if got := read(t, s); got.Count != want || got.Losses != (policy.Counters{}) {
				t.Errorf("%s: %d entries and %+v lost, want %d", when, got.Count, got.Losses, want)
			}
		}
	}
	counts("as opened", 20)
	drop()
	counts("held by its path alone", 20)
	if err := unix.Unmount(name, 0); err != nil {
		t.Fatal(err)
	}
	counts("a plain file in its place", 20)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	counts("nothing in its place", 20)
	bind(t, second, name)
	counts("another in its place", 30)
}

// bind gives a namespace a name, as "ip netns add" does.
func bind(t testing.TB, namespace, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(namespace, name, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(name, unix.MNT_DETACH) }) // the test may have done it
}

// Where the kernel's keys are hidden, conntrack looks unloaded.
func TestRootWaitsForConntrack(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread's mounts are its own from here on, and it ends
		// with the goroutine.
		runtime.LockOSThread()
		if err := hide("/proc/sys/net/netfilter"); err != nil {
			t.Error(err)
			return
		}
		s, err := Open("")
		if err != nil {
			t.Errorf("open without conntrack: %v", err)
			return
		}
		defer s.Close()
		var snapshot policy.Snapshot
		for range 2 {
			err = s.Read(&snapshot)
			if !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), keyCount) {
				t.Errorf("without conntrack: %v, want ErrAbsent and the key", err)
			}
		}
		if err := unix.Unmount("/proc/sys/net/netfilter", 0); err != nil {
			t.Error(err)
		}
		if err := s.Read(&snapshot); err != nil || snapshot.Buckets == 0 {
			t.Errorf("with conntrack: %d buckets, %v", snapshot.Buckets, err)
		}
	}()
	<-done
}

// hide covers a directory with an empty one, for the calling thread only.
func hide(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("none", dir, "tmpfs", 0, "")
}

// BenchmarkRead compares the sensor with the plain way to read the same files.
func BenchmarkRead(b *testing.B) {
	named := filepath.Join(b.TempDir(), "gateway")
	bind(b, netnstest.New(b), named)
	for name, path := range map[string]string{"sensor": "", "named": named} {
		b.Run(name, func(b *testing.B) {
			s := sensor(b, path)
			var snapshot policy.Snapshot
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Read(&snapshot); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("readfile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, path := range []string{
				"/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max",
				"/proc/sys/net/netfilter/nf_conntrack_buckets", "/proc/thread-self/net/stat/nf_conntrack", "/proc/meminfo",
			} {
				text, err := os.ReadFile(path)
				if err != nil || len(strings.Fields(string(text))) == 0 {
					b.Fatal(err)
				}
			}
		}
	})
}

func sensor(t testing.TB, path string) *Sensor {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func read(t *testing.T, s *Sensor) (snapshot policy.Snapshot) {
	t.Helper()
	if err := s.Read(&snapshot); err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func globals(t *testing.T) (maxBuckets [2]int) {
	t.Helper()
	for i, key := range []string{keyMax, keyBuckets} {
		value, err := sysctl.ReadInt(key)
		if err != nil {
			t.Fatal(err)
		}
		maxBuckets[i] = value
	}
	return maxBuckets
}

func inside(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := netns.Do(path, f); err != nil {
		t.Fatal(err)
	}
}
