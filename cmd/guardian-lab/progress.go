package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab/demo"
)

const (
	plainEvery = 2 * time.Second // between two lines when not on a terminal
	barWidth   = 24
)

// A progress shows how a demonstration stands: one line that is written over on
// a terminal, else a plain line now and then.
type progress struct {
	w        io.Writer
	terminal bool
	colour   bool
	last     time.Time
	phase    string
	shown    bool // a line on the terminal is unfinished
}

func newProgress(w io.Writer) *progress {
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	return &progress{
		w: w, terminal: terminal,
		colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

func (p *progress) show(now demo.Progress) {
	line := p.line(now)
	if p.terminal {
		p.shown = true
		fmt.Fprintf(p.w, "\r%s\x1b[K", line)
		return
	}
	phase := now.Run + now.Phase
	if phase == p.phase && time.Since(p.last) < plainEvery {
		return
	}
	p.phase, p.last = phase, time.Now()
	fmt.Fprintln(p.w, line)
}

// end leaves the terminal's line clear.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *progress) line(now demo.Progress) string {
	s := now.Sample
	return fmt.Sprintf("%-7s %-12s %4.0fs [%s] %3.0f%% of %-7d new %5d failed %d",
		now.Run, now.Phase, s.At.Seconds(), p.bar(s.Utilization()), 100*s.Utilization(), s.Max, now.Attempted, now.Failed)
}

// bar is red when the table is full, as good as.
func (p *progress) bar(u float64) string {
	n := max(0, min(int(u*barWidth+0.5), barWidth))
	bar := strings.Repeat("#", n) + strings.Repeat("-", barWidth-n)
	if p.colour && u >= 0.95 {
		return "\x1b[31m" + bar + "\x1b[0m"
	}
	return bar
}
