package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// An episodeRow is an episode in a list.
type episodeRow struct {
	ID      string         `json:"id"`
	Begun   time.Time      `json:"begun"`
	Ended   time.Time      `json:"ended,omitzero"` // left out while it goes on
	Cause   policy.Cause   `json:"cause"`
	Pattern policy.Pattern `json:"pattern,omitempty"`
	Peak    float64        `json:"peak"` // utilization
	Lost    uint64         `json:"lost"`
	Done    int            `json:"done"`
	Undone  int            `json:"undone"`
	File    string         `json:"file"`
	Bytes   int64          `json:"bytes"`
}

// listEpisodes prints what is recorded.
func (f *flags) listEpisodes(w io.Writer) error {
	found, err := record.Episodes(recordDir(f.stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (the daemon makes it, unless the policy keeps no record; --state-dir names the directory)", err)
	}
	if len(found) == 0 && err != nil {
		return err
	}
	rows := make([]episodeRow, 0, len(found))
	for _, e := range found {
		rows = append(rows, episodeRow{
			ID: e.ID, Begun: e.Begun.UTC(), Ended: e.Ended, Cause: e.Cause, Pattern: e.Pattern, Peak: e.Peak, Lost: e.Lost,
			Done: e.Done, Undone: e.Undone, File: e.Path, Bytes: e.Bytes,
		})
	}
	switch { // of what can be read, whatever can't
	case f.json:
		return errors.Join(program.PrintJSON(w, rows), err)
	case len(rows) == 0:
		fmt.Fprintln(w, "No episode is recorded.")
		return nil
	}
	return errors.Join(printLines(w, episodeLines(rows), false), err)
}

// episodeLines lays the list out.
func episodeLines(rows []episodeRow) []textLine {
	columns := []column{
		{"ID", left},
		{"BEGUN, UTC", left},
		{"LASTED", right},
		{"CAUSE", left},
		{"PEAK", right},
		{"LOST", right},
		{"CHANGES", right},
		{"KIB", right},
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{
			printable(r.ID), r.Begun.Format("01-02 15:04:05"), r.lasted(), r.cause(), policy.Percent(r.Peak), policy.Number(int(r.Lost)), r.changes(),
			policy.Number(int((r.Bytes + 1023) / 1024)),
		})
	}
	return layOut(columns, cells)
}

func (r *episodeRow) lasted() string {
	if r.Ended.IsZero() {
		return "goes on"
	}
	return policy.Span(r.Ended.Sub(r.Begun))
}

func (r *episodeRow) cause() string {
	if r.Pattern != policy.NoPattern {
		return printable(fmt.Sprintf("%s (%s)", r.Cause, r.Pattern))
	}
	return printable(cmp.Or(string(r.Cause), "-"))
}

// changes says how many were made, and how many of them are in force.
func (r *episodeRow) changes() string {
	switch left := r.Done - r.Undone; {
	case r.Done == 0:
		return "none"
	case left == 0:
		return policy.Number(r.Done)
	default:
		return fmt.Sprintf("%d, %d left", r.Done, left)
	}
}
