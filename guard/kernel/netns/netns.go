// Package netns runs code inside another network namespace.
//
// A network namespace belongs to a thread, not to a process. So the code runs
// on a thread of its own that no other goroutine can be scheduled on, and a
// thread that can't be brought back is never used again.
//
// What is opened inside (a /proc file, a socket) stays bound to that namespace
// whichever thread uses it later: enter once to open, not for each reading.
// Inside, use /proc/thread-self/net rather than /proc/net: the latter is
// /proc/self/net, which shows the namespace of the process's main thread.
// /proc/sys/net follows the thread that opens it.
package netns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// errExited is what Do returns for a function that ended its goroutine
// (runtime.Goexit, as testing's FailNow does) instead of returning.
var errExited = errors.New("the function ended its goroutine")

// Do runs f inside the network namespace at path and returns its error. An
// empty path means here: f runs on the calling goroutine. Otherwise f has a
// goroutine of its own, locked to a thread; goroutines that f starts are not
// inside. A panic of f is raised again on the calling goroutine.
//
// Entering needs CAP_SYS_ADMIN in the user namespace that owns the network
// namespace.
func Do(path string, f func() error) error {
	if path == "" {
		return f()
	}
	fd, err := open(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	out := outcome{err: errExited}
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.inside(path, fd, f)
	}()
	<-done
	if out.panicked != nil {
		panic(out.panicked)
	}
	return out.err
}

// outcome is how f ended.
type outcome struct {
	err      error
	panicked any
}

// inside runs f on the calling goroutine's thread, moved to the namespace fd.
//
// It must be the last thing that its goroutine does: where the thread can't go
// back, it stays locked, and the runtime ends a thread whose goroutine ends
// locked. Nothing else ever runs on it.
func (o *outcome) inside(path string, fd int, f func() error) {
	runtime.LockOSThread()
	home, err := open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		o.err = err
		return
	}
	defer unix.Close(home)

	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		o.err = fmt.Errorf("enter network namespace %s: %w%s", path, err, hint(err))
		return
	}
	defer func() {
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	defer func() { o.panicked = recover() }()
	o.err = f()
}

// hint says what a refused setns(2) lacks.
func hint(err error) string {
	if errors.Is(err, unix.EPERM) {
		return " (CAP_SYS_ADMIN is needed)"
	}
	return ""
}

// open opens path and makes sure that it is a network namespace.
func open(path string) (int, error) {
	// O_NONBLOCK: a FIFO in the namespace's place must not hang us.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	if err := check(fd); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return fd, nil
}

// check reports whether fd is a network namespace. The file under /run/netns
// of a namespace that was unmounted, or not yet mounted, is a plain file.
func check(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if int64(fs.Type) != unix.NSFS_MAGIC {
		return errors.New("not a namespace, is it mounted?")
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("ask for the namespace's type: %w", err)
	}
	if kind != unix.CLONE_NEWNET {
		return errors.New("a namespace, but not a network namespace")
	}
	return nil
}
