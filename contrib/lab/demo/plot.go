package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	plotColumns = 64
	plotRows    = 8
)

// plot draws a run's utilization over time, and beneath it when
// nf_conntrack_max was raised (▲) or lowered (▼).
func plot(w io.Writer, r Run, perColumn time.Duration) {
	heights := columns(r.Samples, perColumn)
	for row := plotRows - 1; row >= 0; row-- {
		label := ""
		if row == plotRows-1 || row == plotRows/2-1 {
			label = fmt.Sprintf("%d %%", 100*(row+1)/plotRows)
		}
		fmt.Fprintf(w, "  %5s │%s\n", label, strings.TrimRight(cells(heights, row), " "))
	}
	fmt.Fprintf(w, "    0 %% └%s\n", strings.Repeat("─", len(heights)))
	if marks := marks(r.Moves, perColumn); marks != "" {
		fmt.Fprintf(w, "         %s\n", marks)
	}
	for _, m := range r.Moves {
		fmt.Fprintf(w, "         %c %s: nf_conntrack_max %s from %s to %s\n",
			m.sign(), seconds(m.At), m.verb(), grouped(m.From), grouped(m.To))
	}
}

// columns is the greatest utilization within each column's time.
func columns(samples []Sample, perColumn time.Duration) []float64 {
	var c []float64
	for _, s := range samples {
		i := int(s.At / perColumn)
		for len(c) <= i {
			c = append(c, 0)
		}
		c[i] = max(c[i], s.Utilization())
	}
	return c
}

// cells is one row of the plot. A cell is filled by eighths; what is in use at
// all shows.
func cells(heights []float64, row int) string {
	const eighths = " ▁▂▃▄▅▆▇█"
	glyphs := []rune(eighths)
	var b strings.Builder
	for _, h := range heights {
		filled := int(h*plotRows*8+0.5) - 8*row
		b.WriteRune(glyphs[max(0, min(filled, 8))])
	}
	return b.String()
}

func marks(moves []Move, perColumn time.Duration) string {
	var line []rune
	for _, m := range moves {
		i := int(m.At / perColumn)
		for len(line) <= i {
			line = append(line, ' ')
		}
		line[i] = m.sign()
	}
	return string(line)
}

func (m Move) sign() rune {
	if m.To > m.From {
		return '▲'
	}
	return '▼'
}

func (m Move) verb() string {
	if m.To > m.From {
		return "raised"
	}
	return "lowered"
}

// scale is one for all runs, so that they can be compared.
func scale(runs ...Run) time.Duration {
	longest := time.Second
	for _, r := range runs {
		if n := len(r.Samples); n > 0 {
			longest = max(longest, r.Samples[n-1].At)
		}
	}
	return longest/plotColumns + 1
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// grouped writes thousands apart: 65,536.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
