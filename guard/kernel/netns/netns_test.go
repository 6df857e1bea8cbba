package netns_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// here names the namespace of the calling thread, "net:[4026531833]".
func here(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
	}
	return name
}

func TestDoHere(t *testing.T) {
	want := errors.New("as returned")
	if err := netns.Do("", func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do returned %v, want %v", err, want)
	}
}

func TestRootDoEntersAndComesBack(t *testing.T) {
	path := netnstest.New(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := here(t)

	var inside string
	want := errors.New("as returned")
	err := netns.Do(path, func() error { inside = here(t); return want })
	if !errors.Is(err, want) {
		t.Errorf("Do returned %v, want %v", err, want)
	}
	link, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	if inside != link || inside == before {
		t.Errorf("ran in %s, want %s (home is %s)", inside, link, before)
	}
	if after := here(t); after != before {
		t.Errorf("the calling thread is in %s, want %s", after, before)
	}
}

// Threads that have been inside are used again, so none may be left there.
func TestRootDoLeavesNoThreadInside(t *testing.T) {
	path := netnstest.New(t)
	home := here(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := netns.Do(path, func() error { return nil }); err != nil {
				t.Error(err)
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if now := here(t); now != home {
				t.Errorf("a goroutine runs in %s, want %s", now, home)
			}
		})
	}
	wg.Wait()
}

func TestRootDoNested(t *testing.T) {
	outer, inner := netnstest.New(t), netnstest.New(t)
	var names [3]string
	err := netns.Do(outer, func() error {
		names[0] = here(t)
		err := netns.Do(inner, func() error { names[1] = here(t); return nil })
		names[2] = here(t)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if names[0] == names[1] || names[0] != names[2] {
		t.Errorf("outer, inner, outer again: %v", names)
	}
}

func TestRootDoRaisesPanicOnCaller(t *testing.T) {
	path := netnstest.New(t)
	defer func() {
		if got := recover(); got != "boom" {
			t.Errorf("recovered %v, want boom", got)
		}
	}()
	_ = netns.Do(path, func() error { panic("boom") })
	t.Error("Do returned after a panic")
}

func TestRootDoSurvivesGoexit(t *testing.T) {
	err := netns.Do(netnstest.New(t), func() error { runtime.Goexit(); return nil })
	if err == nil {
		t.Error("no error from a function that never returned")
	}
}

func TestDoRefusesWhatIsNoNetworkNamespace(t *testing.T) {
	dir := t.TempDir()
	plain, fifo := filepath.Join(dir, "plain"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		plain:                             "not a namespace",
		fifo:                              "not a namespace",
		dir:                               "not a namespace",
		"/proc/self/ns/mnt":               "not a network namespace",
		filepath.Join(dir, "not-there"):   "no such file",
		"/proc/self/ns/net/not-reachable": "not a directory",
	} {
		err := netns.Do(path, func() error { t.Errorf("%s: entered", path); return nil })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Do(%s) = %v, want its path and %q", path, err, want)
		}
	}
	if err := netns.Do(filepath.Join(dir, "not-there"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is no fs.ErrNotExist", err)
	}
}
