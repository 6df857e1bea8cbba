package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// eighths are the blocks of a bar and of a sparkline, by how much of a cell they fill.
var (
	rising    = []rune("▁▂▃▄▅▆▇█")
	unknown   = '·'
	barLength = 46
)

// bar draws a share of 1 as the filled part of a line.
func bar(share float64) string {
	n := int(math.Round(min(max(share, 0), 1) * float64(barLength)))
	return strings.Repeat("█", n) + strings.Repeat("░", barLength-n)
}

// spark draws shares of 1, each an eighth or more high: the top is a full table.
func spark(hour []*float64) string {
	var b strings.Builder
	for _, share := range hour {
		if share == nil {
			b.WriteRune(unknown)
			continue
		}
		step := int(math.Ceil(*share*float64(len(rising)))) - 1
		b.WriteRune(rising[min(max(step, 0), len(rising)-1)])
	}
	return b.String()
}

// hourText is the last hour: a column a minute, and its highest.
func hourText(s *control.Status) string {
	peak, known := 0.0, false
	for _, share := range s.Hour {
		if share != nil {
			peak, known = max(peak, *share), true
		}
	}
	text := spark(s.Hour[:])
	switch {
	case peak >= 1:
		text += " was full"
	case known:
		text += fmt.Sprintf(" peak %.0f %%", math.Floor(100*peak))
	}
	return text
}

// percentText writes a share: no table is said to be full that has room left.
func percentText(share float64) string {
	if p := 100 * share; p > 99 && p < 100 {
		return fmt.Sprintf("%.1f %%", math.Floor(p*10)/10)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}
