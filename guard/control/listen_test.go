package control

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// abandon leaves a socket that nobody listens on.
func abandon(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socketPath(t)
	abandon(t, path)
	abandon(t, path+".new")
	if _, err := Dial(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead socket: %v", err)
	}
	s, err := Listen(path, &desk{}, everybody(t), discard())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range []string{path, path + ".new"} {
		if _, err := os.Lstat(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left %s: %v", p, err)
		}
	}
	if _, err := Dial(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
}

func TestLiveSocketIsLeftAlone(t *testing.T) {
	s, _ := serving(t, &desk{}, everybody(t))
	_, err := Listen(s.path, &desk{}, everybody(t), discard())
	var used *InUseError
	if !errors.As(err, &used) || used.PID != os.Getpid() || used.Path != s.path {
		t.Fatalf("%v, want that %d listens on %s", err, os.Getpid(), s.path)
	}
	if _, err := Dial(s.path).Status(t.Context()); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// A socket that another daemon has put in the place of ours is not removed with us.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	path := socketPath(t)
	s, err := Listen(path, &desk{}, everybody(t), discard())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := Listen(path, &desk{}, everybody(t), discard())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(path).Status(t.Context()); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, &desk{}, everybody(t), discard()); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "mine" {
		t.Errorf("the file is gone: %v", err)
	}
	if _, err := Listen(path+strings.Repeat("x", 108), &desk{}, everybody(t), discard()); err == nil {
		t.Error("a path that is too long for a socket was taken")
	}
}

// A request under way is answered within the time that stopping has.
func TestCloseIsSoon(t *testing.T) {
	s, err := Listen(socketPath(t), &desk{}, everybody(t), discard())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", s.path) // which never asks
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*leaveTime {
		t.Errorf("took %s", took)
	}
}

func TestDefaultPath(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "")
	if got := DefaultPath(); got != "/run/conntrack-guardian/control.sock" {
		t.Error(got)
	}
	t.Setenv("RUNTIME_DIRECTORY", "/run/user/7/guardian")
	if got := DefaultPath(); got != "/run/user/7/guardian/control.sock" {
		t.Error(got)
	}
}
