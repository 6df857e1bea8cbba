package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab/demo"
)

const barWidth = 24

// A progress shows how a demonstration stands.
type progress struct {
	line   *program.Line
	colour bool
	phase  string
}

func newProgress(w io.Writer) *progress {
	return &progress{
		line:   program.NewLine(w),
		colour: program.Terminal(w) != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

func (p *progress) show(now demo.Progress) {
	phase := now.Run + now.Phase
	p.line.Show(p.text(now), phase != p.phase)
	p.phase = phase
}

// end leaves the terminal's line clear.
func (p *progress) end() { p.line.End() }

func (p *progress) text(now demo.Progress) string {
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
