package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A forwardResult is what `bench forwarding` found.
type forwardResult struct {
	Kernel  string          `json:"kernel"`
	CPUs    int             `json:"cpus"`
	Rounds  int             `json:"rounds"`
	For     float64         `json:"for"` // seconds that each turn was measured
	Rates   []forwardRate   `json:"rates"`
	Targets []forwardTarget `json:"targets"`
}

// A forwardRate is what it found under one flood.
type forwardRate struct {
	Rate int          `json:"rate"` // new flows per second asked for, 0 for all that go
	Rows []forwardRow `json:"conditions"`
}

// A forwardRow is a condition and what its runs came to.
type forwardRow struct {
	Name string `json:"name"`
	What string `json:"what"`
	flowRate
	Ticks tickReport   `json:"ticks"` // of all runs
	Runs  []forwardRun `json:"runs"`  // by round
}

// A forwardTarget compares a condition with the one without a census.
type forwardTarget struct {
	Rate  int     `json:"rate"`
	Name  string  `json:"condition"`
	What  string  `json:"what"`
	Limit float64 `json:"limit"`
	Got   float64 `json:"got"`
	Met   bool    `json:"met"`
}

func newForwardResult(b *forwardBench) forwardResult {
	return forwardResult{
		Kernel: kernelVersion(), CPUs: runtime.NumCPU(), Rounds: b.rounds, For: b.length.Seconds(),
		Targets: []forwardTarget{},
	}
}

// forwardRows are the conditions, the one to compare with first.
func forwardRows() []forwardRow {
	return []forwardRow{
		{Name: noCensus, What: "no census"},
		{Name: sampleCensuses, What: "samples of 20,000, new flows counted"},
		{Name: fullCensuses, What: "full censuses"},
	}
}

// summarize works out the figures of a row whose runs are complete.
func (r *forwardRow) summarize() {
	r.flowRate = flowRateOf(figures(r.Runs, func(run forwardRun) float64 { return run.Forwarded }))
	var late []time.Duration
	for _, run := range r.Runs {
		late = append(late, run.Ticks.late...)
	}
	r.Ticks = newTickReport(late)
}

// tickMissed is the lateness in milliseconds at which a tick is missed: the next is
// due then.
const tickMissed = 100

// judge holds the conditions with a census to what they must not cost: more of the
// forwarding than runs without one differ by, and a tick. Where as much is sent as
// goes, what a census takes is missing; that is no target.
func (r *forwardResult) judge() {
	for _, rate := range r.Rates {
		none := &rate.Rows[0]
		for i := range rate.Rows[1:] {
			row := &rate.Rows[1+i]
			if rate.Rate > 0 && r.Rounds > 1 {
				r.add(forwardTarget{rate.Rate, row.Name, "forwards less, %", none.allowed(r.For), row.slower(none.flowRate), false})
			}
			r.add(forwardTarget{rate.Rate, row.Name, "a tick comes late, ms", tickMissed, 1000 * row.Ticks.Worst, false})
		}
	}
}

func (r *forwardResult) add(t forwardTarget) {
	t.Met = t.Got <= t.Limit
	r.Targets = append(r.Targets, t)
}

// write prints tables that are Markdown, and are aligned to be read as they are.
func (r *forwardResult) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d CPUs, Linux %s, %d rounds of %.0f s; medians, and of counts the sums\n", r.CPUs, r.Kernel, r.Rounds, r.For)
	forwarded := [][]string{{"flows/s sent", "the guard takes", "forwarded/s", "lowest–highest", "slower %", "lost", "entries", "CPUs idle %"}}
	met := [][]string{{
		"flows/s sent", "the guard takes", "connections", "failed", "slow", "handshake ms", "p99", "ticks", "late p99 ms", "worst", "censuses", "CPU %",
	}}
	for _, rate := range r.Rates {
		for i := range rate.Rows {
			row := &rate.Rows[i]
			forwarded = append(forwarded, append(row.head(), row.forwarded(&rate.Rows[0])...))
			met = append(met, append(row.head(), row.met()...))
		}
	}
	targets := [][]string{{"flows/s", "the guard takes", "target", "at most", "got", ""}}
	for _, t := range r.Targets {
		targets = append(targets, t.cells())
	}
	for _, table := range [][][]string{forwarded, met, targets} {
		writeTable(&b, table)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// head are the cells that each table begins with.
func (r *forwardRow) head() []string {
	return []string{policy.Number(int(r.middle(func(run forwardRun) float64 { return run.Offered }))), r.What}
}

// forwarded are the cells of what got through.
func (r *forwardRow) forwarded(none *forwardRow) []string {
	return []string{
		policy.Number(int(r.Forwarded)),
		r.extremes(),
		fmt.Sprintf("%.2f", r.slower(none.flowRate)),
		r.total(func(run forwardRun) int { return int(run.Lost) }),
		policy.Number(int(r.middle(func(run forwardRun) float64 { return float64(run.Entries) }))),
		fmt.Sprintf("%.0f", 100*r.middle(func(run forwardRun) float64 { return run.Idle })),
	}
}

// met are the cells of what clients and the guard met with.
func (r *forwardRow) met() []string {
	return []string{
		r.total(func(run forwardRun) int { return run.Clients.Attempted }),
		r.total(func(run forwardRun) int { return run.Clients.Failed }),
		r.total(func(run forwardRun) int { return run.Clients.Slow }),
		fmt.Sprintf("%.2f", 1000*r.middle(func(run forwardRun) float64 { return run.Handshake.Median })),
		fmt.Sprintf("%.2f", 1000*r.middle(func(run forwardRun) float64 { return run.Handshake.P99 })),
		policy.Number(r.Ticks.Count),
		fmt.Sprintf("%.1f", 1000*r.Ticks.P99),
		fmt.Sprintf("%.1f", 1000*r.Ticks.Worst),
		r.total(func(run forwardRun) int { return run.Censuses }),
		fmt.Sprintf("%.1f", 100*r.middle(func(run forwardRun) float64 { return run.CPU })),
	}
}

// middle is the median of one figure.
func (r *forwardRow) middle(of func(forwardRun) float64) float64 { return median(figures(r.Runs, of)) }

// total is the sum of one figure, for people.
func (r *forwardRow) total(of func(forwardRun) int) string {
	sum := 0
	for _, run := range r.Runs {
		sum += of(run)
	}
	return policy.Number(sum)
}

func (t forwardTarget) cells() []string {
	rate, verdict := policy.Number(t.Rate), "missed"
	if t.Rate == 0 {
		rate = "all"
	}
	if t.Met {
		verdict = "met"
	}
	return []string{rate, t.Name, t.What, fmt.Sprintf("%.2f", t.Limit), fmt.Sprintf("%.2f", t.Got), verdict}
}
