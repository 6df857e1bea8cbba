package program

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Terminal is the terminal that w writes to, nil if it is none. Write to w all
// the same.
func Terminal(w io.Writer) *os.File {
	if f, ok := w.(*faithful); ok {
		w = f.w
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

const (
	plainEvery    = 2 * time.Second        // between two lines when not on a terminal
	terminalEvery = 100 * time.Millisecond // between two on one
)

// A Line shows how work stands: one line that is written over on a terminal,
// else a plain line now and then.
type Line struct {
	w        io.Writer
	terminal bool
	last     time.Time
	shown    bool // a line on the terminal is unfinished
}

// NewLine makes a Line that nothing has been written to.
func NewLine(w io.Writer) *Line { return &Line{w: w, terminal: Terminal(w) != nil} }

// Show shows text, unless it is too soon after the last one and not urgent.
func (l *Line) Show(text string, urgent bool) {
	every := plainEvery
	if l.terminal {
		every = terminalEvery
	}
	if !urgent && time.Since(l.last) < every {
		return
	}
	l.last = time.Now()
	if !l.terminal {
		fmt.Fprintln(l.w, text)
		return
	}
	l.shown = true
	fmt.Fprintf(l.w, "\r%s\x1b[K", text)
}

// End leaves the terminal's line clear.
func (l *Line) End() {
	if l.shown {
		l.shown = false
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
