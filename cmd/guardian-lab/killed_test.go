package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// A child is a guardian-lab of its own process.
type child struct {
	*exec.Cmd
	before lab.Sizes // the machine's values when it found them
}

// startFlood starts a flood that goes on, and returns when it holds the machine's
// max and its namespaces are there. The max that it sets differs from the
// machine's but harms nobody.
func startFlood(t *testing.T) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(standIn(t, "guardian-lab"), "flood", "--rate", "1000", "--for", "5m", "--max", "261000")}
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	line := make(chan string, 1)
	go func() {
		var buf [256]byte
		n, _ := stderr.Read(buf[:])
		line <- string(buf[:n])
	}()
	select {
	case l := <-line:
		if !strings.HasPrefix(l, "gateway: ") {
			t.Fatalf("guardian-lab says %q", l)
		}
	case <-time.After(5 * time.Minute): // others may hold the lock
		t.Fatal("guardian-lab did not begin")
	}
	time.Sleep(100 * time.Millisecond) // into the flood
	c.before = c.originals(t)
	return c
}

// originals are the machine's values as the child wrote them down.
func (c *child) originals(t *testing.T) lab.Sizes {
	t.Helper()
	for _, path := range leftBy(t, c.Process.Pid) {
		var claim struct{ Before *lab.Sizes }
		text, _ := os.ReadFile(path)
		if json.Unmarshal(text, &claim) == nil && claim.Before != nil {
			return *claim.Before
		}
	}
	t.Fatal("guardian-lab wrote no originals down")
	return lab.Sizes{}
}

// Each signal that asks for an end ends everything in order.
func TestRootSignalsPutEverythingBack(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			c := startFlood(t)
			if err := c.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err := c.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != program.Failed {
				t.Errorf("ended with %v, want exit %d", err, program.Failed)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %s to end", took)
			}
			nothingLeft(t, c.Process.Pid)
			c.isBack(t)
		})
	}
}

// After a SIGKILL cleanup does what the lab could not, once.
func TestRootCleanupAfterSIGKILL(t *testing.T) {
	c := startFlood(t)
	t.Cleanup(func() { cleanup(t) }) // should the test fail half-way
	alive := cleanup(t)
	if !slices.Contains(alive.Live, c.Process.Pid) || alive.Max != nil {
		t.Errorf("cleaned %+v while the lab was running, want it left alone", alive)
	}
	left := leftBy(t, c.Process.Pid)
	if len(left) != 5 { // two claims, three namespaces
		t.Errorf("a running lab has %q, want two claims and three namespaces", left)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	done := cleanup(t)
	if len(done.Namespaces) != 3 || done.Max == nil || done.Max.Now != c.before {
		t.Errorf("cleaned %+v, want three namespaces and %+v back", done, c.before)
	}
	nothingLeft(t, c.Process.Pid)
	c.isBack(t)
	if again := cleanup(t); len(again.Namespaces) != 0 || again.Max != nil {
		t.Errorf("cleaned %+v again, want nothing", again)
	}
}

// isBack takes the lock, so that nobody else's values are in force, and compares.
// The lock is taken by lowering max to what it is to be anyway.
func (c *child) isBack(t *testing.T) {
	t.Helper()
	h, err := lab.Lower(t.Context(), c.before.Max)
	if err != nil {
		t.Fatal(err)
	}
	if h.Before != c.before {
		t.Errorf("the machine has %+v, had %+v before", h.Before, c.before)
	}
	if _, err := h.Release(); err != nil {
		t.Error(err)
	}
}

// cleanup runs the program's own.
func cleanup(t *testing.T) (done lab.Cleaned) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := execute([]string{"cleanup", "--json"}, &stdout, &stderr); got != program.Done {
		t.Errorf("cleanup: exit %d: %s", got, &stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), &done); err != nil {
		t.Errorf("cleanup: %v from %s", err, &stdout)
	}
	return done
}
