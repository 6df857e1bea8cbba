package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// writeTable writes a Markdown table with a heading, and an empty line before it. Columns with letters in the
// first line below it go to the left.
func writeTable(b *strings.Builder, rows [][]string) {
	b.WriteByte('\n')
	widths, left := make([]int, len(rows[0])), make([]bool, len(rows[0]))
	for i := range rows[0] {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]), 3)
		}
		left[i] = len(rows) > 1 && strings.ContainsAny(rows[1][i], "aeiou")
	}
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width-1) + ":"
		if left[i] {
			rule[i] = strings.Repeat("-", width)
		}
	}
	for _, row := range slices.Insert(slices.Clone(rows), 1, rule) {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if left[i] {
				cell, pad = cell+pad, ""
			}
			b.WriteString("| " + pad + cell + " ")
		}
		b.WriteString("|\n")
	}
}
