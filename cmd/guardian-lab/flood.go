package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

type floodFlags struct {
	flood   lab.Flood
	pattern string
	from    string
	clients lab.Clients
	max     int
	json    bool
}

// A floodResult is what a flood came to, and what it did to others.
type floodResult struct {
	Flood   lab.FloodReport  `json:"flood"`
	Clients lab.ClientReport `json:"clients"`
	Count   int              `json:"count"` // entries when it was over
}

func floodCommand() *cobra.Command {
	var f floodFlags
	cmd := &cobra.Command{
		Use:   "flood",
		Short: "Flood a gateway with new flows",
		Long: `Make a gateway, send a flood of new flows through it and count what well-behaved
clients lose meanwhile.

The flood comes from addresses of 10.78.0.0/16, or with --ipv6 from random addresses
of /64s of fd78::/48. What nobody answers, half-open and udp, can come from the
clients' own nets as well, 10.77.0.0/16 and fd77::/48.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return flood(cmd, f) },
	}
	cmd.Flags().StringVar(&f.pattern, "pattern", string(lab.Assured), "what the entries become: "+patternNames())
	cmd.Flags().IntVar(&f.flood.Rate, "rate", 16_384, "new flows per second; 0 is as fast as it goes")
	cmd.Flags().IntVar(&f.flood.Count, "count", 0, "end after this many flows")
	cmd.Flags().DurationVar(&f.flood.For, "for", 10*time.Second, "end after this long")
	cmd.Flags().IntVar(&f.flood.Sources, "sources", 0, "client addresses that the flows come from, of IPv6 /64s (default 256; 1 with --from or --ipv6)")
	cmd.Flags().StringVar(&f.from, "from", "", "the first of these addresses, `ADDR`")
	cmd.Flags().BoolVar(&f.flood.IPv6, "ipv6", false, "have flood and clients use IPv6")
	cmd.Flags().IntVar(&f.flood.Tuples, "tuples", 0, "use only `N` different flows, again and again (default: none comes twice)")
	cmd.Flags().IntVar(&f.clients.TCP, "tcp", 200, "new connections of well-behaved clients per second")
	cmd.Flags().IntVar(&f.clients.UDP, "udp", 0, "UDP exchanges of well-behaved clients per second")
	maxFlag(cmd, &f.max)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

func patternNames() string {
	var names []string
	for _, p := range lab.Patterns {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func (f *floodFlags) check() error {
	if err := f.parseFrom(); err != nil {
		return err
	}
	switch f.flood.Pattern = lab.Pattern(f.pattern); {
	case !slices.Contains(lab.Patterns, f.flood.Pattern):
		return program.Misuse("no pattern %q, only %s", f.pattern, patternNames())
	case f.flood.Rate < 0 || f.flood.Count < 0 || f.flood.Tuples < 0:
		return program.Misuse("rate, count and tuples must not be negative")
	case f.flood.For <= 0:
		return program.Misuse("a flood must have an end: give --for")
	case f.clients.TCP < 0 || f.clients.UDP < 0:
		return program.Misuse("the clients' rates must not be negative")
	}
	if err := f.flood.Check(); err != nil {
		return program.Misuse("%w", err)
	}
	return nil
}

// parseFrom takes the family from the address as well: the clients have the same.
func (f *floodFlags) parseFrom() (err error) {
	if f.from != "" {
		if f.flood.From, err = netip.ParseAddr(f.from); err != nil {
			return program.Misuse("--from: %w", err)
		}
	}
	f.flood.IPv6 = f.flood.IPv6 || f.flood.From.Is6()
	f.clients.Way.IPv6 = f.flood.IPv6
	return nil
}

func flood(cmd *cobra.Command, f floodFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	opts := lab.Options{IPv6: f.flood.IPv6}
	return withGateway(cmd, opts, lab.Sizes{Max: f.max}, func(ctx context.Context, g *lab.Gateway) error {
		load := g.StartClients(ctx, f.clients)
		var r floodResult
		var err, lost, blind error
		r.Flood, err = g.Flood(ctx, f.flood)
		r.Count, blind = g.Count()
		r.Clients, lost = load.Stop()
		if err := errors.Join(err, lost, blind, ctx.Err()); err != nil {
			return err
		}
		return printFlood(cmd, f, r)
	})
}

func printFlood(cmd *cobra.Command, f floodFlags, r floodResult) error {
	w := cmd.OutOrStdout()
	if f.json {
		return program.PrintJSON(w, r)
	}
	closed := ""
	if r.Flood.Pattern == lab.TimedWait {
		closed = fmt.Sprintf(", %d closed", r.Flood.Closed)
	}
	_, err := fmt.Fprintf(w, "%s: %d flows in %s, %.0f/s, %d completed%s; %d entries in the table\n", r.Flood.Pattern,
		r.Flood.Sent, r.Flood.Took.Round(time.Millisecond), r.Flood.Rate, r.Flood.Completed, closed, r.Count)
	for _, k := range []struct {
		name string
		lab.Tally
	}{{"connections", r.Clients.TCP}, {"UDP exchanges", r.Clients.UDP}} {
		if k.Attempted > 0 {
			fmt.Fprintf(w, "%s: %d attempted, %d failed, %d slow, longest outage %s\n",
				k.name, k.Attempted, k.Failed, k.Slow, k.LongestOutage.Round(time.Millisecond))
		}
	}
	return err
}
