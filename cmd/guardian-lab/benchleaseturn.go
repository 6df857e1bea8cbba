package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// offence is how many flows a second the offender sends.
const offence = 20_000

// A leaseRun is what one turn of a condition came to.
type leaseRun struct {
	forwarding
	Offended int64   `json:"offended"` // flows that the offender sent, from before the measured part on
	Refused  uint64  `json:"refused"`  // packets of it
	Renewals int     `json:"renewals"` // of all leases
	Renewal  float64 `json:"renewal"`  // seconds that one took beside the traffic, median
}

// turn measures one condition: the flood goes on for a while with the leases in
// force, then it counts.
func (b *leaseBench) turn(ctx context.Context, g *lab.Gateway, flood lab.Flood, row *leaseRow) (r leaseRun, err error) {
	h, err := holdLeases(ctx, g, row.leases)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.letGo()) }()
	stop := func() (int64, error) { return 0, nil }
	if row.offends {
		stop = startOffender(ctx, g)
	}
	flood.For = b.settle
	_, err = g.Flood(ctx, flood)
	if err == nil {
		flood.For = b.length
		err = r.flood(ctx, g, flood)
	}
	var failed error
	r.Offended, failed = stop()
	if err := errors.Join(err, failed); err != nil {
		return r, err
	}
	if err := r.roomLeft(b.sizes.Max); err != nil {
		return r, err
	}
	return r, r.take(h)
}

// startOffender has the offender flood until it is stopped. Its flows are of UDP: the
// responders of the other flood would answer TCP.
func startOffender(ctx context.Context, g *lab.Gateway) (stop func() (sent int64, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	var report lab.FloodReport
	over := make(chan error, 1)
	go func() {
		var err error
		report, err = g.Flood(ctx, lab.Flood{Pattern: lab.UDP, Rate: offence, From: offender.Addr()})
		over <- err
	}()
	return func() (int64, error) {
		cancel()
		err := <-over
		return report.Sent, err
	}
}

// take adds what became of the leases. Where the offender is limited, most of its
// flows must have been refused: packets may be lost on the way to the gateway when
// more is sent than it can take.
func (r *leaseRun) take(h *leaseHold) (err error) {
	if r.Refused, err = h.settle(); err != nil {
		return err
	}
	if isLeased(h.of) && r.Refused < uint64(r.Offended)/2 {
		return fmt.Errorf("the limited source sent %s flows, only %s were refused",
			policy.Number(int(r.Offended)), policy.Number(int(r.Refused)))
	}
	if len(h.of) > 0 {
		r.Renewals = len(h.took)
		r.Renewal = median(figures(h.took, time.Duration.Seconds))
	}
	return nil
}

// A leaseRow is a condition and what its runs came to.
type leaseRow struct {
	Name   string `json:"name"`
	What   string `json:"what"`
	Leases int    `json:"leases"`
	flowRate
	Runs []leaseRun `json:"runs"` // by round

	leases  []nft.Request
	offends bool
}

// The conditions' names, beside noLeases.
const (
	noLeases    = "none"
	oneLease    = "one"
	manyLeases  = "many"
	limitedOne  = "limited"
	unlimitedIt = "unlimited"
)

// rows are the conditions, the one to compare with first.
func (b *leaseBench) rows() []leaseRow {
	many := policy.Number(b.sources) + " leases"
	rows := []leaseRow{
		{Name: noLeases, What: "no lease"},
		{Name: oneLease, What: "1 lease", leases: leasesOf(1)},
		{Name: manyLeases, What: many, leases: leasesOf(b.sources)},
		{
			Name: limitedOne, What: many + ", a limited source floods", offends: true,
			leases: append(leasesOf(b.sources-1), leaseOf(offender)),
		},
		{Name: unlimitedIt, What: "no lease, that source floods", offends: true},
	}
	for i := range rows {
		rows[i].Leases = len(rows[i].leases)
	}
	return rows
}

// summarize works out the figures of a row whose runs are complete.
func (r *leaseRow) summarize() {
	r.flowRate = flowRateOf(figures(r.Runs, func(run leaseRun) float64 { return run.Forwarded }))
}

// middle is the median of one figure.
func (r *leaseRow) middle(of func(leaseRun) float64) float64 { return median(figures(r.Runs, of)) }

// total is the sum of one figure.
func (r *leaseRow) total(of func(leaseRun) int) (sum int) {
	for _, run := range r.Runs {
		sum += of(run)
	}
	return sum
}
