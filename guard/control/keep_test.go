package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// keeping is a server that looks for its socket that often, and what it logs.
func keeping(t *testing.T, d Daemon, a Access, every time.Duration) (*Server, *lines) {
	t.Helper()
	logged := new(lines)
	s, err := listenAndLook(socketPath(t), d, a, slog.New(slog.NewTextHandler(logged, nil)), every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, logged
}

// until waits for something to come true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// holds reports whether the name of a server's socket is that of its own.
func holds(s *Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spot.named(s.path)
}

func answers(t *testing.T, path string) bool {
	_, err := Dial(path).Status(t.Context())
	return err == nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A socket that was removed, and the directory with it, is there again with the mode that
// it had, by one line in the log; what was asked before is answered, and nothing is left
// open of the sockets before.
func TestSocketIsMadeAnew(t *testing.T) {
	const times = 20
	begun, wait := make(chan struct{}), make(chan struct{})
	d := &desk{do: func(context.Context, Request) (*Answer, error) {
		close(begun)
		<-wait
		return &Answer{Message: "late"}, nil
	}}
	s, logged := keeping(t, d, everybody(t), 10*time.Millisecond)
	answered := make(chan error, 1)
	go func() {
		_, err := Dial(s.path).Do(t.Context(), Request{Verb: Reload})
		answered <- err
	}()
	<-begun
	before := descriptors(t)
	for i := range times {
		gone := s.path
		if i%2 == 1 {
			gone = filepath.Dir(s.path)
		}
		must(t, os.RemoveAll(gone))
		until(t, "an answer", func() bool { return answers(t, s.path) })
		if info, err := os.Lstat(s.path); err != nil || info.Mode() != os.ModeSocket|0o666 {
			t.Fatalf("%v, %v", info, err)
		}
	}
	close(wait)
	if err := <-answered; err != nil {
		t.Errorf("what was asked before: %v", err)
	}
	until(t, "the end of the old sockets", func() bool { return descriptors(t) <= before })
	if text := logged.String(); strings.Count(text, "\n") != times || strings.Count(text, "is made anew") != times {
		t.Errorf("%d times gone, logged:\n%s", times, text)
	}
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

// The look at a reload does not wait for its turn.
func TestPermitLooksForTheSocket(t *testing.T) {
	s, _ := keeping(t, &desk{}, everybody(t), time.Hour)
	must(t, os.Remove(s.path))
	if answers(t, s.path) {
		t.Fatal("it was not removed")
	}
	s.Permit(everybody(t))
	until(t, "an answer", func() bool { return answers(t, s.path) })
}

// Where the socket's name has come to lead to a file of somebody else's, a reload of the
// policy changes that file in no way, and the socket comes back when the name is free.
func TestPermitFollowsNoName(t *testing.T) {
	s, logged := keeping(t, &desk{}, Access{group: nobody}, time.Hour)
	secret := filepath.Join(filepath.Dir(s.path), "secret")
	must(t, os.WriteFile(secret, nil, 0o600))
	before, err := os.Stat(secret)
	must(t, err)
	for _, place := range []func() error{
		func() error { return os.Symlink(secret, s.path) },
		func() error { return os.Link(secret, s.path) },
	} {
		must(t, os.Remove(s.path))
		must(t, place())
		for _, a := range []Access{everybody(t), {group: uint32(os.Getegid())}, {group: nobody}} {
			s.Permit(a)
			time.Sleep(20 * time.Millisecond) // and the look that comes with it
			after, err := os.Stat(s.path)
			must(t, err)
			if !os.SameFile(before, after) || after.Mode() != before.Mode() || after.ModTime() != before.ModTime() {
				t.Errorf("%+v: the file is %v, was %v", a, after.Mode(), before.Mode())
			}
		}
		if text := logged.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "is there and no socket") {
			t.Errorf("logged:\n%s", text)
		}
		must(t, os.Remove(s.path))
		s.Permit(everybody(t))
		until(t, "an answer", func() bool { return answers(t, s.path) })
		logged.reset()
	}
}

// Who was permitted while the socket was gone is let in once it is there.
func TestPermitWithoutSocket(t *testing.T) {
	s, _ := keeping(t, &desk{}, Access{group: nobody}, time.Hour)
	must(t, os.Remove(s.path))
	s.Permit(everybody(t))
	until(t, "a socket for everybody", func() bool {
		info, err := os.Lstat(s.path)
		return err == nil && info.Mode() == os.ModeSocket|0o666
	})
}

// So is who was permitted while it was being made.
func TestPermitMeanwhile(t *testing.T) {
	s, _ := keeping(t, &desk{}, Access{group: nobody}, 5*time.Millisecond)
	s.mu.Lock()
	must(t, os.Remove(s.path))
	until(t, "a socket", func() bool { return answers(t, s.path) })
	all := everybody(t)
	s.access.Store(&all)
	s.mu.Unlock()
	until(t, "a socket for everybody", func() bool {
		info, err := os.Lstat(s.path)
		return err == nil && info.Mode() == os.ModeSocket|0o666
	})
}

// A reload that has nothing to do with the socket leaves its file as it is.
func TestPermitTheSame(t *testing.T) {
	s, _ := keeping(t, &desk{}, everybody(t), time.Hour)
	must(t, os.Chmod(s.path, 0o600))
	s.Permit(everybody(t))
	if info, err := os.Lstat(s.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Another daemon that has taken the name keeps it as long as it lives.
func TestSocketOfAnotherIsLeftAlone(t *testing.T) {
	s, logged := keeping(t, &desk{}, everybody(t), 5*time.Millisecond)
	must(t, os.Remove(s.path))
	other, err := Listen(s.path, &desk{}, everybody(t), discard())
	for errors.As(err, new(*InUseError)) { // the first was quicker
		must(t, os.Remove(s.path))
		other, err = Listen(s.path, &desk{}, everybody(t), discard())
	}
	must(t, err)
	defer other.Close()
	logged.reset()
	time.Sleep(100 * time.Millisecond)
	if !holds(other) {
		t.Fatal("its socket was replaced")
	}
	if text := logged.String(); strings.Count(text, "\n") > 1 {
		t.Errorf("logged:\n%s", text)
	}
	must(t, other.Close())
	until(t, "the first one", func() bool { return holds(s) && answers(t, s.path) })
}

// What is put in the place of a socket before it has its mode is not given that mode.
func TestSpotIsItsOwn(t *testing.T) {
	path := socketPath(t)
	ours, _ := serving(t, &desk{}, everybody(t))
	for name, make := range map[string]func() error{
		"a file":                        func() error { return os.WriteFile(path, nil, 0o600) },
		"a symbolic link":               func() error { return os.Symlink("/dev/null", path) },
		"a link to another of ours":     func() error { return os.Symlink(ours.path, path) },
		"a socket that nobody uses":     func() error { abandon(t, path); return nil },
		"the socket of somebody else's": func() error { return somebodyElse(t, path) },
		"nothing":                       func() error { return nil },
	} {
		must(t, os.RemoveAll(path))
		must(t, make())
		if at, err := newSpot(nil, path); err == nil {
			t.Errorf("%s was taken for ours: %+v", name, at)
		}
	}
}

// somebodyElse has another process listen on a socket until the test is over.
func somebodyElse(t *testing.T, path string) error {
	t.Helper()
	cmd := caller(t, nil, "listen", path)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	_, err = out.Read(make([]byte, 1)) // it listens
	return err
}

// listenOnly listens until its input ends.
func listenOnly(path string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	defer l.Close()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
