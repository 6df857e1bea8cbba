package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A walkResult is what `bench walk` found.
type walkResult struct{ benchResult }

// walkLimits are what a walk shall not cost that deletes half of the table.
var walkLimits = []benchLimit{
	{"our walk: CPU time, × floor", theWalk, 1.3, func(row benchRow) float64 { return row.Ratio }},
	{"our walk: wall time, × floor", theWalk, 1.3, func(row benchRow) float64 { return row.Slow }},
}

// write prints tables that are Markdown.
func (r *walkResult) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d CPUs, Linux %s, medians of %d\n", r.CPUs, r.Kernel, r.Rounds)
	rows := [][]string{{"entries", "half deleted by", "CPU s", "× floor", "wall s", "× floor", "peak RSS MB"}}
	for _, size := range r.Sizes {
		for _, row := range size.Rows {
			rows = append(rows, []string{
				policy.Number(size.Entries), row.What,
				fmt.Sprintf("%.3f", row.CPU), fmt.Sprintf("%.2f", row.Ratio),
				fmt.Sprintf("%.3f", row.Wall), fmt.Sprintf("%.2f", row.Slow), fmt.Sprintf("%.1f", megabytes(row)),
			})
		}
	}
	writeTable(&b, rows)
	targets := [][]string{{"target", "at most", "got", ""}}
	for _, t := range r.Targets {
		targets = append(targets, []string{t.What, fmt.Sprintf("%g", t.Limit), fmt.Sprintf("%.2f", t.Worst), t.verdict()})
	}
	writeTable(&b, targets)
	_, err := io.WriteString(w, b.String())
	return err
}
