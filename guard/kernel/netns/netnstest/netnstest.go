// Package netnstest makes network namespaces for tests.
package netnstest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// New makes an empty network namespace and returns its path. It lives until the
// test ends, or longer if something else still holds it. Making one needs
// CAP_SYS_ADMIN; without it the test fails.
func New(t testing.TB) string {
	t.Helper()
	path, drop := Hold(t)
	t.Cleanup(drop)
	return path
}

// Hold is New for a test that wants to see the namespace go: drop, to be called
// once, gives it up. The path means another namespace from then on.
func Hold(t testing.TB) (path string, drop func()) {
	t.Helper()
	h := holder{ready: make(chan error), quit: make(chan struct{}), gone: make(chan struct{})}
	go h.hold()
	if err := <-h.ready; err != nil {
		t.Fatalf("make a network namespace: %v (CAP_SYS_ADMIN is needed)", err)
	}
	path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), h.thread)
	return path, func() { close(h.quit); <-h.gone }
}

// holder is a thread that stays in a namespace of its own.
type holder struct {
	thread int
	ready  chan error
	quit   chan struct{}
	gone   chan struct{}
}

// hold goes home before it ends rather than letting its thread die: the
// process's main thread can't die, and would keep the namespace.
func (h *holder) hold() {
	defer close(h.gone)
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(home)
		err = unix.Unshare(unix.CLONE_NEWNET)
	}
	h.thread = unix.Gettid()
	h.ready <- err
	if err != nil {
		return
	}
	<-h.quit
	if unix.Setns(home, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}
