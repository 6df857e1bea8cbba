package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// goldenStatus is the status of an archive of testdata/status, looked at when it says.
func goldenStatus(t *testing.T, name string) sight {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/status/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	return readSight(t, archive)
}

// startStatus runs status on the terminal. The channel gets its exit code.
func (p *pty) startStatus(v *statusView, args ...string) <-chan int {
	p.Setenv("TERM", "xterm")
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(statusCommandWith(v))
	root.SetIn(p.terminal)
	code := make(chan int, 1)
	go func() {
		code <- program.Execute(p.Context(), root, append([]string{"status"}, args...), p.terminal, p.terminal)
	}()
	return code
}

// viewOf is a view of one status.
func viewOf(given sight) *statusView {
	return &statusView{
		flags: &flags{}, clock: func() time.Time { return given.now },
		ask: func(context.Context) (*control.Status, error) { return given.status, nil },
	}
}

// On a terminal of 80 columns the verdict comes first, in its colour unless that is not
// wanted, and nothing is wider.
func TestStatusOnTerminal(t *testing.T) {
	for _, tc := range []struct{ name, noColor, begins string }{
		{"bad", "", inks[critical] + "CRITICAL  losing connections: "},
		{"flood", "", inks[warning] + "WARNING   the table is filling"},
		{"calm", "", inks[fine] + "OK        healthy" + plain},
		{"bad", "1", bold + "CRITICAL  losing connections: "},
	} {
		t.Run(tc.name+tc.noColor, func(t *testing.T) {
			t.Setenv("NO_COLOR", tc.noColor)
			p := newPTY(t, 80, 24)
			p.ends(p.startStatus(viewOf(goldenStatus(t, tc.name))))
			p.until("acts  ")
			p.until("\r\n")
			text := p.text()
			if !strings.HasPrefix(text, tc.begins) {
				t.Errorf("begins with %.60q, want %q", text, tc.begins)
			}
			if coloured := strings.Contains(text, "\x1b[1;3"); coloured != (tc.noColor == "") {
				t.Errorf("coloured %v with NO_COLOR=%q", coloured, tc.noColor)
			}
			keepScreen(t, text)
		})
	}
}

// A watch follows the daemon, says when it is gone, and when it is back.
func TestStatusWatchOnTerminal(t *testing.T) {
	p := newPTY(t, 80, 24)
	before := p.modes()
	given := goldenStatus(t, "flood")
	var gone atomic.Bool
	v := viewOf(given)
	v.ask = func(context.Context) (*control.Status, error) {
		if gone.Load() {
			return nil, control.ErrNotRunning
		}
		return given.status, nil
	}
	code := p.startStatus(v, "--watch=100ms")
	p.until("LATELY")
	if !strings.HasPrefix(p.text(), enter+home+inks[warning]+"WARNING") {
		t.Errorf("began with %.60q", p.text())
	}
	keepScreen(t, p.text())
	gone.Store(true)
	p.until("CRITICAL  " + control.ErrNotRunning.Error() + "; what follows is as of ")
	p.forget()
	gone.Store(false)
	p.until(inks[warning] + "WARNING")
	if _, err := p.master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	p.ends(code)
	p.until(leave)
	if p.modes() != before {
		t.Error("the terminal's modes were not put back")
	}
}

// A watch on a small screen keeps the verdict and gives up lists first.
func TestStatusWatchOnSmallTerminal(t *testing.T) {
	p := newPTY(t, 80, 20)
	code := p.startStatus(viewOf(goldenStatus(t, "advise")), "--watch=1s")
	p.until("lines more")
	keepScreen(t, p.text())
	for _, part := range []string{"WARNING   the table is filling", "ADVICE", "limit-source-91bd0"} {
		if !strings.Contains(p.text(), part) {
			t.Errorf("no %q in %q", part, p.text())
		}
	}
	if _, err := p.master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	p.ends(code)
}

// A watch whose first status can't be had ends at once, as status does.
func TestStatusWatchWithoutDaemon(t *testing.T) {
	p := newPTY(t, 80, 24)
	v := viewOf(sight{})
	v.ask = func(context.Context) (*control.Status, error) { return nil, control.ErrNotRunning }
	select {
	case <-p.startStatus(v, "--watch"):
	case <-time.After(patience):
		t.Fatal("it waits")
	}
	p.until(control.ErrNotRunning.Error())
	if v.exit != exitNotRunning {
		t.Errorf("exit code %d", v.exit)
	}
}

// keepScreen leaves what a terminal was shown to look at, where -test.artifacts asks for it.
func keepScreen(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "screen"), []byte(text), 0o644); err != nil {
		t.Error(err)
	}
}
