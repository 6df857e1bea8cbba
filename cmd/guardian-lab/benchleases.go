package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A leaseBench is one run of `bench leases`.
type leaseBench struct {
	floodBench
	sources int // that have a lease where there are many
}

func newLeaseBench() *leaseBench { return &leaseBench{floodBench: newFloodBench()} }

func benchLeasesCommand(b *leaseBench) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leases",
		Short: "Show what limited sources cost, and what forwarding loses to them",
		Long: `Limit many sources, as limit-source does, renew their leases and read them: how long
that takes and how much CPU, in a gateway without traffic. What the kernel frees
later, on threads of its own, is not counted.

Then flood a gateway with new connections, all of which are answered and
acknowledged, beside the ordinary ones of well-behaved clients, while there are

  none        no leases
  one         a lease of one source that is silent
  many        leases of many such sources
  limited     as many, one of which is of a source that sends 20,000 UDP flows a
              second
  unlimited   the same source, and no leases

Leases are renewed at a third of their time, as the daemon does. In each round all
of these take a turn, each round in another order. The flows of the limited source
are made on the same CPUs: what they cost the gateway is the difference between its
two rows.

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
	cmd.Flags().IntVar(&b.sources, "sources", 5000, "how many sources are limited where there are many")
	cmd.Flags().IntSliceVar(&b.rates, "rate", []int{50_000, 0}, "new flows per second, `N,...`; 0 is as fast as it goes")
	cmd.Flags().IntVar(&b.rounds, "rounds", 3, "how often each has its turn")
	cmd.Flags().DurationVar(&b.length, "for", 10*time.Second, "how long each turn is measured")
	program.JSONFlag(cmd, &b.json)
	return cmd
}

// understand checks the command line before anything is changed.
func (b *leaseBench) understand() error {
	if b.sources < 2 || b.sources > mostLeases {
		return program.Misuse("%d sources: from 2 to %s can be limited", b.sources, policy.Number(mostLeases))
	}
	return checkTraffic(b.rates, b.rounds, b.length)
}

func (b *leaseBench) run(cmd *cobra.Command) error {
	r := newLeaseResult(b)
	b.line = program.NewLine(cmd.ErrOrStderr())
	b.line.Show(fmt.Sprintf("limiting %s sources", policy.Number(b.sources)), true)
	err := withGateway(cmd, lab.Options{}, lab.Sizes{}, func(ctx context.Context, g *lab.Gateway) (err error) {
		r.Costs, err = b.costs(ctx, g)
		return err
	})
	if err == nil {
		sizes := func(int) lab.Sizes { return b.sizes }
		err = eachWithGateway(cmd, b.rates, sizes, func(ctx context.Context, g *lab.Gateway, rate int) error {
			rows, err := b.flooded(ctx, g, rate)
			r.Rates = append(r.Rates, leaseRate{rate, rows})
			return err
		})
	}
	return conclude(cmd, b.line, err, b.json, &r)
}

// flooded measures all conditions under a flood.
func (b *leaseBench) flooded(ctx context.Context, g *lab.Gateway, rate int) ([]leaseRow, error) {
	if err := g.SetTimeouts(map[string]int{"tcp_timeout_established": forwardTimeout, "udp_timeout": forwardTimeout}); err != nil {
		return nil, err
	}
	rows := b.rows()
	what := func(i int) string { return rows[i].What }
	err := b.underFlood(ctx, g, rate, len(rows), what, func(flood lab.Flood, i int) error {
		run, err := b.turn(ctx, g, flood, &rows[i])
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
