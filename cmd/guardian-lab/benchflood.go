package main

import (
	"context"
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// A floodBench measures conditions in turn, while new flows go through a gateway whose
// table is full of them already.
type floodBench struct {
	rates  []int // new flows per second; 0 is as fast as it goes
	rounds int
	length time.Duration // of what is measured, each time
	json   bool

	sizes        lab.Sizes     // the machine's for the run
	fill, settle time.Duration // of flood before the first turn, and in each before it is measured
	line         *program.Line
}

func newFloodBench() floodBench {
	return floodBench{
		sizes: lab.Sizes{Max: 1 << 22, Buckets: 1 << 20}, // room for whatever rate the generator comes to
		fill:  20 * time.Second, settle: 4 * time.Second,
	}
}

// underFlood fills the gateway's table by a flood, then has each of the conditions take
// its turn under it in every round. What says a condition.
func (b *floodBench) underFlood(ctx context.Context, g *lab.Gateway, rate, conditions int, what func(i int) string, turn func(f lab.Flood, i int) error) error {
	flood := lab.Flood{Pattern: lab.Assured, Rate: rate, For: b.fill}
	b.line.Show(rateText(rate)+": filling the table", true)
	if _, err := g.Flood(ctx, flood); err != nil {
		return err
	}
	return takeTurns(b.rounds, conditions, func(round, i int) error {
		b.line.Show(fmt.Sprintf("%s, round %d of %d: %s", rateText(rate), round+1, b.rounds, what(i)), false)
		if err := turn(flood, i); err != nil {
			return fmt.Errorf("%s, %s: %w", rateText(rate), what(i), err)
		}
		return nil
	})
}
