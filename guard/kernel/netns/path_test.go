package netns_test

import (
	"errors"
	"io/fs"
	"runtime"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

func TestRootPathTellsNamespacesApart(t *testing.T) {
	runtime.LockOSThread() // home is this thread's; others may be elsewhere, the first of the process as well
	defer runtime.UnlockOSThread()
	path := netnstest.New(t)
	id := func(path string) netns.ID {
		t.Helper()
		id, err := netns.NewPath(path).ID()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	home, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	var entered netns.ID
	err = netns.Do(path, func() (err error) { entered, err = netns.Current(); return err })
	if err != nil {
		t.Fatal(err)
	}
	if entered != id(path) || entered.Another(id(path)) || !entered.Another(home) || home != id("/proc/thread-self/ns/net") {
		t.Errorf("entered %v by %v, home %v", entered, id(path), home)
	}
	if plain := id("/dev/null"); plain.Another(home) {
		t.Errorf("a device passes for a namespace: %v", plain)
	}
	if _, err := netns.NewPath("/run/netns/not-there").ID(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty place: %v", err)
	}
	p := netns.NewPath(path)
	if n := testing.AllocsPerRun(100, func() { _, err = p.ID() }); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}
