package main

import (
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// lines lays the answer out.
func (a *shortAnswer) lines() []textLine {
	page := topPage{now: a.report}
	lines := []textLine{{text: page.tableLine()}, {text: readLine(a.report)}, {}}
	if len(a.Classes) == 0 {
		return append(lines, textLine{text: "There are no entries with a timeout."})
	}
	lines = append(lines, a.table(&page)...)
	if notes := a.notes(); len(notes) > 0 {
		lines = append(append(lines, textLine{}), notes...)
	}
	return lines
}

// table has a row for each class, and one for all entries.
func (a *shortAnswer) table(page *topPage) []textLine {
	columns := []column{
		{"CLASS", left},
		{"ENTRIES", right},
		{"SHARE", right},
		{"±", right},
		{"TIMEOUT", right},
		{"WOULD BE", right},
		{"FREED", right},
		{"OF TABLE", right},
		{"±", right},
		{"END SOONER", right},
	}
	var rows [][]string
	for _, c := range a.Classes {
		cells := append([]string{c.Class}, page.figure(viewRow{Figure: c.Figure, of: a.Table})...)
		cells = append(append(cells, timeoutText(c.Timeout)), c.floorCells(a.Table)...)
		rows = append(rows, append(cells, c.soonerCell()))
	}
	sum := []string{"all", policy.Number(a.Table), shareText(ratio(a.Table, a.Table)), "", "", ""}
	sum = append(sum, freedCells(a.Total.Freed, a.Table)...)
	return layOut(columns, append(rows, append(sum, policy.Number(a.Total.Sooner.Entries))))
}

// soonerCell is how many entries of a class would end sooner.
func (r *shortRow) soonerCell() string {
	if r.To == nil {
		return "-"
	}
	return policy.Number(r.Sooner.Entries)
}

// floorCells are the timeout that a class would have, and what that would free.
func (r *shortRow) floorCells(table int) []string {
	if r.To == nil {
		return []string{"-", "-", "-", ""}
	}
	return append([]string{timeoutText(*r.To)}, freedCells(r.Freed, table)...)
}

// freedCells are a number of entries, their share of the table, and how sure both
// are: also where all were read, as a bin of the histogram may be freed in part.
func freedCells(f census.Figure, table int) []string {
	cells := []string{policy.Number(f.Entries), shareText(ratio(f.Entries, table)), ""}
	if f.Low < f.High {
		cells[2] = pointsText(side(f, table))
	}
	return cells
}

// timeoutText writes a timeout, "-" for none.
func timeoutText(seconds int) string {
	if seconds == 0 {
		return "-"
	}
	return spanText(time.Duration(seconds) * time.Second)
}

// notes say what the table leaves open.
func (a *shortAnswer) notes() (lines []textLine) {
	note := func(format string, args ...any) {
		lines = append(lines, textLine{text: fmt.Sprintf(format, args...)})
	}
	if a.Floors != givenFloors {
		note("WOULD BE is the floor of %s, where that is shorter.", a.Floors)
	}
	for _, c := range a.Classes {
		switch {
		case a.Floors != givenFloors || c.To != nil || c.asked == 0:
		case c.Timeout == 0:
			note("This kernel has no %s.", c.Class)
		default:
			note("%s is %s already: %s would not shorten it.", c.Class, timeoutText(c.Timeout), timeoutText(c.asked))
		}
	}
	if kept := a.Total.Kept.Freed; kept.High > 0 {
		note("Not among them: %s (%s) in ESTABLISHED that are assured. They may be alive, and the policy leaves them alone.",
			entriesText(kept.Entries), shareText(ratio(kept.Entries, a.Table)))
	}
	if !a.Retime {
		note("The policy has no existing entry end sooner (retime = false).")
	}
	if a.least > 0 {
		note("The policy leaves classes alone that hold less than %s of the table.", policy.Percent(a.least))
	}
	return lines
}
