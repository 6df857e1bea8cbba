package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// A pty is a terminal whose other end the test holds.
type pty struct {
	*testing.T
	master, terminal *os.File

	mu   sync.Mutex
	seen bytes.Buffer
}

func newPTY(t *testing.T, width, height uint16) *pty {
	t.Helper()
	p := &pty{T: t}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { p.master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	p.terminal = os.NewFile(peer, "pts")
	t.Cleanup(func() { p.terminal.Close() })
	p.resize(width, height)
	go p.follow()
	return p
}

func (p *pty) resize(width, height uint16) {
	p.Helper()
	if err := unix.IoctlSetWinsize(int(p.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		p.Fatal(err)
	}
}

// follow collects what the program writes, until the terminal is closed.
func (p *pty) follow() {
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.seen.Write(buf[:n])
		p.mu.Unlock()
	}
}

// text is what was written and not forgotten.
func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String()
}

// until waits for the program to write something.
func (p *pty) until(text string) {
	p.Helper()
	for end := time.Now().Add(patience); !strings.Contains(p.text(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("no %q within %s of %q", text, patience, p.text())
		}
	}
}

func (p *pty) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.Reset()
}

// modes are the terminal's settings.
func (p *pty) modes() term.State {
	p.Helper()
	s, err := term.GetState(int(p.terminal.Fd()))
	if err != nil {
		p.Fatal(err)
	}
	return *s
}

// start runs the command on the terminal. The channel gets its exit code.
func (p *pty) start(take func(context.Context, census.Options) (census.Report, error), args ...string) <-chan int {
	p.Setenv("TERM", "xterm")
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(topCommandWith(&top{flags: &flags{}, take: take}))
	root.SetIn(p.terminal)
	code := make(chan int, 1)
	go func() {
		code <- program.Execute(p.Context(), root, append([]string{"top"}, args...), p.terminal, p.terminal)
	}()
	return code
}

func (p *pty) ends(code <-chan int) {
	p.Helper()
	select {
	case c := <-code:
		if c != program.Done {
			p.Errorf("exit code %d: %q", c, p.text())
		}
	case <-time.After(patience):
		p.Fatalf("still running %s after the end was asked for", patience)
	}
}

// A watch takes the terminal over, fits its size, and gives it back at q, while a
// census is on its way.
func TestTopWatchOnTerminal(t *testing.T) {
	for name, key := range map[string]string{"q": "q", "Ctrl-C": "\x03"} {
		t.Run(name, func(t *testing.T) {
			p := newPTY(t, 80, 24)
			before := p.modes()
			n := 0
			code := p.start(func(ctx context.Context, o census.Options) (census.Report, error) {
				n++
				switch n {
				case 1:
					return *bigReport(50), nil
				case 2:
					return census.Report{}, unix.ENOBUFS
				}
				o.Progress(11, 50)
				<-ctx.Done()
				return census.Report{}, ctx.Err()
			}, "--watch=1s")
			p.until("35 more")
			if !strings.HasPrefix(p.text(), enter+home) {
				t.Errorf("began with %.40q", p.text())
			}
			if p.modes() == before {
				t.Error("keys are not read one by one")
			}
			p.forget()
			p.resize(80, 30)
			if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil {
				t.Fatal(err)
			}
			p.until("29 more")
			p.until("no buffer space available")
			p.until("read 11 entries of 50 (22 %)")
			if _, err := p.master.WriteString("x" + key); err != nil {
				t.Fatal(err)
			}
			p.ends(code)
			p.until(leave)
			if !strings.HasSuffix(p.text(), leave) {
				t.Errorf("ended with %q", p.text())
			}
			if p.modes() != before {
				t.Error("the terminal's modes were not put back")
			}
		})
	}
}

// One report leaves room for the prompt, and its progress no trace.
func TestTopOnTerminal(t *testing.T) {
	p := newPTY(t, 80, 20)
	code := p.start(func(_ context.Context, o census.Options) (census.Report, error) {
		o.Progress(11, 50)
		return *bigReport(50), nil
	})
	p.ends(code)
	p.until("-n 50 shows them\r\n")
	page, ok := strings.CutPrefix(p.text(), "\rread 11 entries of 50 (22 %)\x1b[K\r\x1b[K")
	if !ok || strings.Count(page, "\n") != 19 || !strings.Contains(page, bold+"SOURCE") {
		t.Errorf("%d lines: %q", strings.Count(page, "\n"), page)
	}
}

// A terminal that knows no control sequences is treated as a file.
func TestCleverTerminal(t *testing.T) {
	p := newPTY(t, 80, 20)
	for kind, want := range map[string]*os.File{"dumb": nil, "xterm": p.terminal} {
		t.Setenv("TERM", kind)
		if got := cleverTerminal(p.terminal); got != want {
			t.Errorf("TERM=%s: %v, want %v", kind, got, want)
		}
	}
	if got := cleverTerminal(new(bytes.Buffer)); got != nil {
		t.Errorf("a buffer is taken for %v", got)
	}
}
