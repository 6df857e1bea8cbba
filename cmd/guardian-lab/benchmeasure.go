package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A benchUsage is what one run of a contender took, all its processes together but
// for RSS, which is that of the largest.
type benchUsage struct {
	CPU  float64 `json:"cpu"`  // seconds, kernel and user
	Wall float64 `json:"wall"` // seconds, from before the start to the end of the last process
	RSS  int64   `json:"rss"`  // bytes, the peak
}

// measure has a shell start processes in the background, in a process group of
// their own, and returns their output and what they took when all have ended.
// Inside calls a function in the network namespace that they are to be in.
//
// It needs the shell's help for their peak of resident memory. The kernel counts
// into a process's ru_maxrss what it was before its exec (exec_mmap), and a process
// that Go starts was Go's memory until then: of a large program, all children are
// large. What a shell starts was a shell, of a megabyte or so. When it ends, its
// children become ours (PR_SET_CHILD_SUBREAPER) and their figures with them.
func measure(ctx context.Context, inside func(func() error) error, script string, args ...string) (used benchUsage, out []byte, err error) {
	adopt, err := adopting()
	if err != nil {
		return used, nil, err
	}
	defer adopt()
	var stdout, stderr bytes.Buffer
	shell := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	shell.Env = append(os.Environ(), "LC_ALL=C")
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Stdout, shell.Stderr = &stdout, &stderr
	start := time.Now()
	if err := inside(shell.Start); err != nil {
		return used, nil, fmt.Errorf("start %q: %w", script, err)
	}
	group := shell.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-group, unix.SIGKILL) }) // it may have ended
	defer stop()
	err = shell.Wait() // and for all who have its output
	used, failed := reap(group)
	used.Wall = time.Since(start).Seconds()
	switch err = errors.Join(err, failed); {
	case ctx.Err() != nil:
		return used, nil, context.Cause(ctx)
	case err != nil:
		return used, nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return used, stdout.Bytes(), nil
}

// adopting makes this process the parent of processes whose own has ended, until
// the function it returns is called.
func adopting() (end func(), err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	return func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }, nil // it was allowed before
}

// reap waits for all processes of a group, adds up what they took, and says which
// of them failed.
func reap(group int) (used benchUsage, err error) {
	for {
		var status unix.WaitStatus
		var of unix.Rusage
		_, e := unix.Wait4(-group, &status, 0, &of)
		switch {
		case errors.Is(e, unix.EINTR):
			continue
		case errors.Is(e, unix.ECHILD):
			return used, err
		case e != nil:
			return used, errors.Join(err, os.NewSyscallError("wait4", e))
		}
		used.CPU += time.Duration(of.Utime.Nano() + of.Stime.Nano()).Seconds()
		used.RSS = max(used.RSS, int64(of.Maxrss)<<10) // 32 bits on some machines
		err = errors.Join(err, ending(status))
	}
}

// ending is the error that a process ended with. SIGPIPE is none: who writes to
// head, writes more than it reads.
func ending(status unix.WaitStatus) error {
	switch {
	case status.Exited() && status.ExitStatus() != 0:
		return fmt.Errorf("exit code %d", status.ExitStatus())
	case status.Signaled() && status.Signal() != unix.SIGPIPE:
		return fmt.Errorf("ended by %s", status.Signal())
	}
	return nil
}
