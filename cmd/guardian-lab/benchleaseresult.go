package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A leaseResult is what `bench leases` found.
type leaseResult struct {
	Kernel  string        `json:"kernel"`
	CPUs    int           `json:"cpus"`
	Rounds  int           `json:"rounds"`
	For     float64       `json:"for"`     // seconds that each turn was measured
	Sources int           `json:"sources"` // that were limited where there are many
	Costs   []leaseCost   `json:"costs"`
	Rates   []leaseRate   `json:"rates"`
	Targets []leaseTarget `json:"targets"`
}

// A leaseRate is what it found under one flood.
type leaseRate struct {
	Rate int        `json:"rate"` // new flows per second asked for, 0 for all that go
	Rows []leaseRow `json:"conditions"`
}

// A leaseTarget is what leases should not cost.
type leaseTarget struct {
	What  string  `json:"what"`
	Limit float64 `json:"limit"`
	Got   float64 `json:"got"`
	Met   bool    `json:"met"`
}

func newLeaseResult(b *leaseBench) leaseResult {
	return leaseResult{
		Kernel: kernelVersion(), CPUs: runtime.NumCPU(), Rounds: b.rounds, For: b.length.Seconds(), Sources: b.sources,
		Targets: []leaseTarget{},
	}
}

// renewalShare is what renewing all leases may take of a CPU, in percent.
const renewalShare = 1

// judge holds leases to what they must not cost: CPU time, more of the forwarding of
// others than runs without leases differ by, and a connection of others while one
// source floods. Where as much is sent as goes, everything costs something, and
// connections time out; that is no target.
func (r *leaseResult) judge() {
	for _, c := range r.Costs {
		if c.Name == theRenewal {
			r.add("renewals, % of a CPU", renewalShare, 100*c.CPU/leaseRenewed.Seconds())
		}
	}
	for _, rate := range r.Rates {
		if rate.Rate > 0 {
			r.judgeRate(&rate)
		}
	}
}

func (r *leaseResult) judgeRate(rate *leaseRate) {
	none := rate.Rows[0].flowRate
	for i := range rate.Rows {
		row := &rate.Rows[i]
		what := fmt.Sprintf("%s flows/s, %s: ", policy.Number(rate.Rate), row.What)
		switch row.Name {
		case oneLease, manyLeases:
			if r.Rounds > 1 { // else there is no noise to compare with
				r.add(what+"forwards less, %", none.allowed(r.For), row.slower(none))
			}
		case limitedOne:
			r.add(what+"failed connections", 0, float64(row.total(func(run leaseRun) int { return run.Clients.Failed })))
		}
	}
}

func (r *leaseResult) add(what string, limit, got float64) {
	r.Targets = append(r.Targets, leaseTarget{what, limit, got, got <= limit})
}

// write prints tables that are Markdown, and are aligned to be read as they are.
func (r *leaseResult) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d CPUs, Linux %s, %s leases, %d rounds, of %.0f s with traffic; medians, and of counts the sums\n",
		r.CPUs, r.Kernel, policy.Number(r.Sources), r.Rounds, r.For)
	costs := [][]string{{"to", "wall ms", "CPU ms"}}
	for _, c := range r.Costs {
		costs = append(costs, []string{c.What, fmt.Sprintf("%.2f", 1000*c.Wall), fmt.Sprintf("%.2f", 1000*c.CPU)})
	}
	writeTable(&b, costs)
	for _, cells := range [][][]string{r.forwarded(), r.met(), r.targets()} {
		writeTable(&b, cells)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// forwarded is the table of what got through.
func (r *leaseResult) forwarded() [][]string {
	all := [][]string{{"flows/s sent", "in force", "forwarded/s", "lowest–highest", "slower %", "lost", "entries", "CPUs idle %"}}
	for _, rate := range r.Rates {
		for i := range rate.Rows {
			row := &rate.Rows[i]
			all = append(all, append(row.head(),
				policy.Number(int(row.Forwarded)), row.extremes(),
				fmt.Sprintf("%.2f", row.slower(rate.Rows[0].flowRate)),
				policy.Number(row.total(func(run leaseRun) int { return int(run.Lost) })),
				policy.Number(int(row.middle(func(run leaseRun) float64 { return float64(run.Entries) }))),
				fmt.Sprintf("%.0f", 100*row.middle(func(run leaseRun) float64 { return run.Idle })),
			))
		}
	}
	return all
}

// met is the table of what clients and the offender met with.
func (r *leaseResult) met() [][]string {
	all := [][]string{{
		"flows/s sent", "in force", "connections", "failed", "slow", "handshake ms", "p99", "offender's flows", "refused", "renewals", "ms each",
	}}
	for _, rate := range r.Rates {
		for i := range rate.Rows {
			row := &rate.Rows[i]
			cells := row.head()
			for _, of := range []func(leaseRun) int{
				func(run leaseRun) int { return run.Clients.Attempted },
				func(run leaseRun) int { return run.Clients.Failed },
				func(run leaseRun) int { return run.Clients.Slow },
			} {
				cells = append(cells, policy.Number(row.total(of)))
			}
			all = append(all, append(cells,
				fmt.Sprintf("%.2f", 1000*row.middle(func(run leaseRun) float64 { return run.Handshake.Median })),
				fmt.Sprintf("%.2f", 1000*row.middle(func(run leaseRun) float64 { return run.Handshake.P99 })),
				policy.Number(row.total(func(run leaseRun) int { return int(run.Offended) })),
				policy.Number(row.total(func(run leaseRun) int { return int(run.Refused) })),
				policy.Number(row.total(func(run leaseRun) int { return run.Renewals })),
				fmt.Sprintf("%.1f", 1000*row.middle(func(run leaseRun) float64 { return run.Renewal })),
			))
		}
	}
	return all
}

func (r *leaseResult) targets() [][]string {
	all := [][]string{{"target", "at most", "got", ""}}
	for _, t := range r.Targets {
		verdict := "missed"
		if t.Met {
			verdict = "met"
		}
		all = append(all, []string{t.What, fmt.Sprintf("%.2f", t.Limit), fmt.Sprintf("%.2f", t.Got), verdict})
	}
	return all
}

// head are the cells that each table begins with.
func (r *leaseRow) head() []string {
	return []string{policy.Number(int(r.middle(func(run leaseRun) float64 { return run.Offered }))), r.What}
}
