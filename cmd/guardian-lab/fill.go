package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// kinds are the entries that a mix may have, with the kernel's own timeouts.
var kinds = map[string]lab.Entries{
	"established": {Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 432_000 * time.Second},
	"half-open":   {Proto: unix.IPPROTO_TCP, State: lab.SynSent, Timeout: 120 * time.Second},
	"time-wait":   {Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 120 * time.Second},
	"udp":         {Proto: unix.IPPROTO_UDP, Timeout: 30 * time.Second},
	"udp-stream":  {Proto: unix.IPPROTO_UDP, Assured: true, Timeout: 120 * time.Second},
}

type fillFlags struct {
	entries, sources, max int
	mix                   string
	hold                  time.Duration
	json                  bool
}

func fillCommand() *cobra.Command {
	var f fillFlags
	cmd := &cobra.Command{
		Use:   "fill",
		Short: "Fill a gateway's table by ctnetlink",
		Long: `Make a gateway and fill its table with entries of a known mix by ctnetlink,
without traffic. With --hold the gateway stays that long, or until a signal, to be
looked at or guarded: its namespace is named on standard error.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return fill(cmd, f) },
	}
	cmd.Flags().IntVar(&f.entries, "entries", 100_000, "how many entries to make")
	cmd.Flags().IntVar(&f.sources, "sources", 256, "client addresses that the entries come from")
	cmd.Flags().StringVar(&f.mix, "mix", "established=1", "shares of `KIND=SHARE,...`: "+strings.Join(kindNames(), ", "))
	cmd.Flags().DurationVar(&f.hold, "hold", 0, "keep the gateway this long afterwards")
	maxFlag(cmd, &f.max)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

func fill(cmd *cobra.Command, f fillFlags) error {
	mix, err := parseMix(f.mix, f.entries, f.sources)
	if err != nil {
		return program.Misuse("%w", err)
	}
	return withGateway(cmd, f.max, func(ctx context.Context, g *lab.Gateway) error {
		r, err := g.Fill(ctx, mix...)
		if err != nil {
			return err
		}
		if err := printFill(cmd, f, r); err != nil {
			return err
		}
		select {
		case <-ctx.Done(): // the end of holding, as asked
		case <-time.After(f.hold):
		}
		return nil
	})
}

func printFill(cmd *cobra.Command, f fillFlags, r lab.FillReport) error {
	w := cmd.OutOrStdout()
	if f.json {
		return program.PrintJSON(w, r)
	}
	_, err := fmt.Fprintf(w, "%d entries made in %s, %.0f/s\n", r.Created, r.Took.Round(time.Millisecond), r.Rate)
	for errno, n := range r.Failed {
		fmt.Fprintf(w, "%d refused: %s\n", n, errno)
	}
	return err
}

// parseMix splits a number of entries by shares. What rounding leaves goes to the
// first.
func parseMix(text string, entries, sources int) ([]lab.Entries, error) {
	if entries < 1 || sources < 1 {
		return nil, fmt.Errorf("%d entries from %d sources: both must be 1 at least", entries, sources)
	}
	var mix []lab.Entries
	left, total := entries, 0.0
	for part := range strings.SplitSeq(text, ",") {
		name, share, _ := strings.Cut(part, "=")
		e, known := kinds[name]
		if !known {
			return nil, fmt.Errorf("mix %q: no kind %q, only %s", text, name, strings.Join(kindNames(), ", "))
		}
		s, err := strconv.ParseFloat(share, 64)
		if err != nil || !(s > 0 && s <= 1) {
			return nil, fmt.Errorf("mix %q: the share of %s must be over 0 and at most 1", text, name)
		}
		total += s
		e.Count, e.Sources = int(s*float64(entries)), sources
		left -= e.Count
		mix = append(mix, e)
	}
	if math.Abs(total-1) > 1e-6 {
		return nil, fmt.Errorf("mix %q: the shares add up to %g, not to 1", text, total)
	}
	mix[0].Count += left
	return mix, nil
}

func kindNames() []string {
	var names []string
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
