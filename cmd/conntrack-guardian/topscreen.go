package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

// Control sequences of ECMA-48 and xterm, which every terminal of today knows.
const (
	bold       = "\x1b[1m"
	plain      = "\x1b[m"
	home       = "\x1b[H"
	clearRight = "\x1b[K"
	clearBelow = "\x1b[J"
	enter      = "\x1b[?1049h\x1b[?25l" // alternate screen, no cursor
	leave      = "\x1b[?25h\x1b[?1049l"
)

// cleverTerminal is the terminal behind w that understands control sequences,
// nil if there is none.
func cleverTerminal(w io.Writer) *os.File {
	if os.Getenv("TERM") == "dumb" {
		return nil
	}
	return program.Terminal(w)
}

// sizeOf is a terminal's size, or the usual one if it does not tell.
func sizeOf(terminal *os.File) (width, height int) {
	width, height, err := term.GetSize(int(terminal.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

// printLines prints a page once.
func printLines(w io.Writer, lines []textLine, stress bool) error {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(stressed(l, l.text, stress) + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func stressed(l textLine, text string, stress bool) string {
	switch {
	case stress && l.head:
		return bold + text + plain
	case stress && l.ink != "":
		return l.ink + text + plain
	}
	return text
}

// A page is a report to be laid out: it has as many rows as are asked for, at most.
type page interface{ lines(rows int) []textLine }

// A screen is a terminal that pages are drawn on, one over the other.
type screen struct {
	out     io.Writer
	size    func() (width, height int)
	restore func() error

	mu     sync.Mutex
	page   page
	most   int    // rows of it, 0 for as many as there is room for
	note   string // in the last line: an error, or how far a census is
	closed bool
}

// openScreen takes the terminal over until close. quit is called when a key asks
// for the end.
func openScreen(ctx context.Context, in io.Reader, out io.Writer, terminal *os.File, quit func()) (*screen, error) {
	s := &screen{out: out, restore: func() error { return nil }, size: func() (int, int) { return sizeOf(terminal) }}
	if keys, ok := in.(*os.File); ok && term.IsTerminal(int(keys.Fd())) {
		state, err := term.MakeRaw(int(keys.Fd()))
		if err != nil {
			return nil, fmt.Errorf("read single keys from the terminal: %w", err)
		}
		s.restore = func() error { return term.Restore(int(keys.Fd()), state) }
		go waitForQuit(keys, quit) // it ends with the program
	}
	if _, err := io.WriteString(out, enter); err != nil {
		return nil, errors.Join(fmt.Errorf("draw: %w", err), s.restore())
	}
	go s.followSize(ctx)
	return s, nil
}

// waitForQuit reads keys until q or, which is no signal in raw mode, Ctrl-C.
func waitForQuit(keys io.Reader, quit func()) {
	const ctrlC = 3
	key := make([]byte, 1)
	for {
		n, err := keys.Read(key)
		if n == 1 && (key[0] == 'q' || key[0] == 'Q' || key[0] == ctrlC) || err != nil {
			quit()
			return
		}
	}
}

// followSize draws the page anew when the terminal's size has changed.
func (s *screen) followSize(ctx context.Context) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			_ = s.redraw() // the next page meets the same error
		}
	}
}

// draw shows a page; its rows are those that there is room for, at most so many
// unless that is 0.
func (s *screen) draw(p page, most int) error {
	s.mu.Lock()
	s.page, s.most, s.note = p, most, ""
	s.mu.Unlock()
	return s.redraw()
}

// say shows a note below the page.
func (s *screen) say(note string) {
	s.mu.Lock()
	s.note = strings.ReplaceAll(note, "\n", "; ")
	s.mu.Unlock()
	_ = s.redraw() // the next page meets the same error
}

func (s *screen) redraw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if _, err := io.WriteString(s.out, s.picture()); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	return nil
}

// picture is the whole screen, the last line of it for the note.
func (s *screen) picture() string {
	width, height := s.size()
	var b strings.Builder
	b.WriteString(home)
	if s.page != nil {
		rows := room(s.page, height-1)
		if s.most > 0 {
			rows = min(rows, s.most)
		}
		lines := s.page.lines(rows)
		for _, l := range lines[:min(len(lines), height-1)] {
			b.WriteString(stressed(l, cut(l.text, width), true) + clearRight + "\r\n")
		}
	}
	b.WriteString(clearBelow)
	fmt.Fprintf(&b, "\x1b[%dH%s", height, cut(s.note, width))
	return b.String()
}

// close gives the terminal back as it was.
func (s *screen) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_, err := io.WriteString(s.out, leave)
	return errors.Join(err, s.restore())
}

// room is how many rows fit into a page of so many lines, 1 at least.
func room(p page, height int) int {
	if len(p.lines(math.MaxInt)) <= height {
		return math.MaxInt
	}
	return max(1, height-len(p.lines(0)))
}

// cut shortens text to so many characters.
func cut(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width])
	}
	return text
}
