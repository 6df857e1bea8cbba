package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// forwardTimeout is how many seconds a flow of the flood stays in the table. The
	// kernel takes expired entries away as it meets them in lookups and gc, so that
	// 50,000 new flows a second keep about 500,000 entries.
	forwardTimeout = 8
	// forwardClients is how many connections a second well-behaved clients make.
	forwardClients = 200
)

// A forwardBench is one run of `bench forwarding`.
type forwardBench struct {
	floodBench
	self string // path of this program, which plays the guard
}

func newForwardBench() *forwardBench { return &forwardBench{floodBench: newFloodBench()} }

func benchForwardingCommand(b *forwardBench) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forwarding",
		Short: "Show what forwarding and the daemon's tick lose to a census",
		Long: `Flood a gateway with new connections, all of which are answered and acknowledged,
beside the ordinary ones of well-behaved clients, while the guard's real loop
watches in a process of its own, in mode advise, and has trouble all the time:

  none      it takes no census
  sample    a sample of 20,000 with half a CPU, begun again as soon as a policy
            allows, and new connections counted by source in its nft table
  full      full censuses with half a CPU, one after the other

In each round all three take a turn, each round in another order. Measured are the
flows that got through, what the clients met with, the time of their handshakes,
and how late the loop's ticks come, ten a second.

The machine's nf_conntrack_max and nf_conntrack_buckets are raised for the run and
put back. Entries expire after 8 seconds, so that the table stays of a size.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.understand(); err != nil {
				return err
			}
			return b.run(cmd)
		},
	}
	cmd.Flags().IntSliceVar(&b.rates, "rate", []int{50_000, 0}, "new flows per second, `N,...`; 0 is as fast as it goes")
	cmd.Flags().IntVar(&b.rounds, "rounds", 3, "how often each has its turn")
	cmd.Flags().DurationVar(&b.length, "for", 15*time.Second, "how long each turn is measured")
	program.JSONFlag(cmd, &b.json)
	return cmd
}

// understand checks the command line before anything is changed.
func (b *forwardBench) understand() error {
	if err := checkTraffic(b.rates, b.rounds, b.length); err != nil {
		return err
	}
	return findSelf(&b.self)
}

// checkTraffic checks what benchmarks with traffic are told, and who runs them.
func checkTraffic(rates []int, rounds int, length time.Duration) error {
	if len(rates) == 0 || rounds < 1 {
		return program.Misuse("%d rates, %d rounds: there must be one of each", len(rates), rounds)
	}
	for _, rate := range rates {
		if rate < 0 {
			return program.Misuse("a rate of %d: it must not be negative", rate)
		}
	}
	if length < time.Second {
		return program.Misuse("%s are too short to measure: --for must be a second at least", length)
	}
	return needRoot()
}

func (b *forwardBench) run(cmd *cobra.Command) error {
	r := newForwardResult(b)
	b.line = program.NewLine(cmd.ErrOrStderr())
	sizes := func(int) lab.Sizes { return b.sizes }
	err := eachWithGateway(cmd, b.rates, sizes, func(ctx context.Context, g *lab.Gateway, rate int) error {
		rows, err := b.flooded(ctx, g, rate)
		r.Rates = append(r.Rates, forwardRate{rate, rows})
		return err
	})
	return conclude(cmd, b.line, err, b.json, &r)
}

// flooded measures all conditions under a flood.
func (b *forwardBench) flooded(ctx context.Context, g *lab.Gateway, rate int) ([]forwardRow, error) {
	if err := g.SetTimeouts(map[string]int{"tcp_timeout_established": forwardTimeout}); err != nil {
		return nil, err
	}
	rows := forwardRows()
	what := func(i int) string { return rows[i].What }
	err := b.underFlood(ctx, g, rate, len(rows), what, func(flood lab.Flood, i int) error {
		run, err := b.turn(ctx, g, flood, rows[i].Name)
		rows[i].Runs = append(rows[i].Runs, run)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].summarize()
	}
	return rows, nil
}

// rateText is a rate for people.
func rateText(rate int) string {
	if rate == 0 {
		return "as many new flows as it goes"
	}
	return policy.Number(rate) + " new flows a second"
}
