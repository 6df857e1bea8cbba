package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// kinds are the entries that a mix may have, just made as the kernel's own
// timeouts have it. A name that ends in 6 is IPv6.
var kinds = map[string]lab.Entries{
	"established":  tcp(lab.Established, 432_000),
	"established6": v6(tcp(lab.Established, 432_000)),
	"idle":         tcp(lab.Established, 432_000-9*3600), // silent for nine hours
	"idle6":        v6(tcp(lab.Established, 432_000-9*3600)),
	"half-open":    {Proto: unix.IPPROTO_TCP, State: lab.SynSent, Timeout: 120 * time.Second},
	"syn-recv":     {Proto: unix.IPPROTO_TCP, State: lab.SynRecv, Replied: true, Timeout: 60 * time.Second},
	"fin-wait":     tcp(lab.FinWait, 120),
	"close-wait":   tcp(lab.CloseWait, 60),
	"last-ack":     tcp(lab.LastAck, 30),
	"time-wait":    tcp(lab.TimeWait, 120),
	"close":        tcp(lab.Closed, 10),
	"udp":          {Proto: unix.IPPROTO_UDP, Timeout: 30 * time.Second},
	"udp6":         v6(lab.Entries{Proto: unix.IPPROTO_UDP, Timeout: 30 * time.Second}),
	"udp-stream":   {Proto: unix.IPPROTO_UDP, Assured: true, Timeout: 120 * time.Second},
	"icmp":         {Proto: unix.IPPROTO_ICMP, Replied: true, Timeout: 30 * time.Second},
	"icmp6":        v6(lab.Entries{Proto: unix.IPPROTO_ICMPV6, Replied: true, Timeout: 30 * time.Second}),
}

// maxNAT is how many hosts the smaller of the pools' nets has.
const maxNAT = 254

// The pools of --nat, RFC 5737 and RFC 3849.
var (
	natFirst  = netip.MustParseAddr("203.0.113.1")
	natFirst6 = netip.MustParseAddr("2001:db8:1::1")
)

// tcp are entries of a connection that was established at least once.
func tcp(state uint8, seconds int) lab.Entries {
	return lab.Entries{
		Proto: unix.IPPROTO_TCP, State: state, Assured: true, Timeout: time.Duration(seconds) * time.Second,
	}
}

func v6(e lab.Entries) lab.Entries {
	e.Family = 6
	return e
}

type fillFlags struct {
	entries, sources int
	nat              int // addresses
	zone             uint16
	sizes            lab.Sizes
	mix              string
	hold             time.Duration
	json             bool
}

func fillCommand() *cobra.Command {
	var f fillFlags
	cmd := &cobra.Command{
		Use:   "fill",
		Short: "Fill a gateway's table by ctnetlink",
		Long: `Make a gateway and fill its table with entries of a known mix by ctnetlink,
without traffic. With --hold the gateway stays that long, or until a signal, to be
looked at or guarded: its namespace is named on standard error.

The sources are spread evenly over each kind of the mix, 443 is the only service.
Entries of "idle" are established and have been silent for nine hours, all others
have just seen a packet. A name that ends in 6 is IPv6, each source in a /64 of its
own.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return fill(cmd, f) },
	}
	cmd.Flags().IntVar(&f.entries, "entries", 100_000, "how many entries to make")
	cmd.Flags().IntVar(&f.sources, "sources", 256, "client addresses that the entries come from")
	cmd.Flags().StringVar(&f.mix, "mix", "established=1", "shares of `KIND=SHARE,...`: "+strings.Join(kindNames(), ", "))
	cmd.Flags().IntVar(&f.nat, "nat", 0, "translate the sources to `N` addresses (default: no translation)")
	cmd.Flags().Uint16Var(&f.zone, "zone", 0, "conntrack `zone` of the entries")
	cmd.Flags().DurationVar(&f.hold, "hold", 0, "keep the gateway this long afterwards")
	maxFlag(cmd, &f.sizes.Max)
	cmd.Flags().IntVar(&f.sizes.Buckets, "buckets", 0, "set the machine's nf_conntrack_buckets to `N` for the run (default: leave it)")
	program.JSONFlag(cmd, &f.json)
	return cmd
}

func fill(cmd *cobra.Command, f fillFlags) error {
	mix, err := f.entriesOf()
	if err != nil {
		return program.Misuse("%w", err)
	}
	return withGateway(cmd, lab.Options{}, f.sizes, func(ctx context.Context, g *lab.Gateway) error {
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

// entriesOf is the mix with what holds for all of it. What the lab could not make
// is refused before there is a gateway.
func (f fillFlags) entriesOf() ([]lab.Entries, error) {
	if f.nat < 0 || f.nat > maxNAT {
		return nil, fmt.Errorf("%d addresses to translate to: at most %d", f.nat, maxNAT)
	}
	mix, err := parseMix(f.mix, f.entries, f.sources)
	if err != nil {
		return nil, err
	}
	for i := range mix {
		mix[i].Zone = f.zone
		if f.nat > 0 {
			mix[i].SNAT = lab.NATPool{First: natFirst, Addresses: f.nat}
			if mix[i].Family == 6 {
				mix[i].SNAT.First = natFirst6
			}
		}
	}
	return mix, lab.Check(mix...)
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

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }
