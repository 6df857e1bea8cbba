package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A forwardRun is what one turn of a condition came to.
type forwardRun struct {
	forwarding
	Ticks    tickReport `json:"ticks"`
	Censuses int        `json:"censuses"` // ended while it was measured
	CPU      float64    `json:"cpu"`      // of the guard's process, as a share of one CPU
}

// A forwarding is what a gateway did with traffic.
type forwarding struct {
	Offered   float64   `json:"offered"`   // new flows per second that the generator came to
	Forwarded float64   `json:"forwarded"` // of them, per second: there and back through the gateway
	Lost      int64     `json:"lost"`      // flows that were sent and did not get through
	Entries   int       `json:"entries"`   // in the table, the mean of before and after
	Clients   lab.Tally `json:"clients"`   // well-behaved
	Handshake spread    `json:"handshake"` // of connections made one after the other, seconds
	Idle      float64   `json:"idle"`      // share of all CPUs that nobody used, here or elsewhere on the machine
}

// A spread is how samples lie.
type spread struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Worst  float64 `json:"worst"`
}

// spreadOf is zero of nothing. It sorts its samples.
func spreadOf(samples []time.Duration) (s spread) {
	n := len(samples)
	if n == 0 {
		return s
	}
	slices.Sort(samples)
	return spread{samples[n/2].Seconds(), samples[n*99/100].Seconds(), samples[n-1].Seconds()}
}

// turn measures one condition: the flood goes on for a while with the guard at
// work, then it counts.
func (b *forwardBench) turn(ctx context.Context, g *lab.Gateway, flood lab.Flood, condition string) (r forwardRun, err error) {
	w, err := startWatch(b.self, g.Router.Path(), condition)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.kill()) }()
	flood.For = b.settle
	if _, err := g.Flood(ctx, flood); err != nil {
		return r, err
	}
	flood.For = b.length
	from := boot.Now()
	if err := r.flood(ctx, g, flood); err != nil {
		return r, err
	}
	until := boot.Now()
	if err := r.roomLeft(b.sizes.Max); err != nil {
		return r, err
	}
	seen, err := w.stop()
	if err != nil {
		return r, err
	}
	return r, r.take(seen, from, until)
}

// roomLeft is an error if the table was nearly full.
func (r *forwarding) roomLeft(limit int) error {
	if r.Entries >= limit*9/10 {
		return fmt.Errorf("the table is full with %s entries: that measures something else", policy.Number(r.Entries))
	}
	return nil
}

// flood is the measured part of a turn.
func (r *forwarding) flood(ctx context.Context, g *lab.Gateway, flood lab.Flood) error {
	before, err := g.Count()
	if err != nil {
		return err
	}
	began, err := readCPUTime()
	if err != nil {
		return err
	}
	load := g.StartClients(ctx, lab.Clients{TCP: forwardClients})
	shakes := startShaking(g)
	f, err := g.Flood(ctx, flood)
	after, blind := g.Count()
	ended, unread := readCPUTime()
	took, unshaken := shakes.stop()
	clients, lost := load.Stop()
	if err := errors.Join(err, blind, unread, unshaken, lost, context.Cause(ctx)); err != nil {
		return err
	}
	r.Offered, r.Forwarded = f.Rate, float64(f.Completed)/f.Took.Seconds()
	r.Lost, r.Entries = f.Sent-f.Completed, (before+after)/2
	r.Idle = ended.idleSince(began)
	r.Clients, r.Handshake = clients.TCP, spreadOf(took)
	return nil
}

// take adds what the guard saw of the time from the one to the other.
func (r *forwardRun) take(seen watchReport, from, until time.Duration) error {
	r.Ticks = seen.ticks(from, until)
	if r.Ticks.Count == 0 {
		return errors.New("the guard's loop did not tick")
	}
	r.CPU = seen.cpu(from, until)
	for _, l := range seen.Looks {
		if l.At > from && l.At <= until {
			r.Censuses++
		}
	}
	return nil
}
