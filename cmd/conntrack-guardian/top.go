package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	topSample   = 20_000
	topRows     = 20
	topEvery    = 5 * time.Second
	topEveryMin = time.Second
	topSlow     = 2 * time.Second
)

// top is one run of the command.
type top struct {
	*flags
	by, source, namespace string
	sample, limit         int
	full, limits          bool
	cpu                   float64
	every                 time.Duration // 0 for one report

	take   func(context.Context, census.Options) (census.Report, error)
	read   reading       // of leases in force
	slow   time.Duration // how long a census may take before its progress is shown
	view   view
	prefix netip.Prefix // of source, the zero Prefix for the whole table
}

func topCommand(f *flags) *cobra.Command {
	leases := actions.KernelLeases() // of which none is made, so there is none to close
	return topCommandWith(&top{flags: f, take: census.Take, read: leases.Held, slow: topSlow})
}

func topCommandWith(t *top) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Print who and what fills the table, or who is limited",
		Long: `Print who and what fills the connection-tracking table, from a census of it. It
needs neither the daemon nor a policy, only CAP_NET_ADMIN, and changes nothing
but that the kernel removes expired entries as it comes by them.

A census is by default a sample: the first entries of the hash table, which are
as good as drawn at random, read in a fraction of a second however large the
table. Its shares have a ± in percentage points, within which 99 of 100 samples
come. With --full every entry is read, at 1.5 to 3 CPU seconds a million, and
with --source every entry of that source. Where there are more addresses than
can be counted one by one, a number is marked ≥ for at least.

The first table has kinds of entries, in percent of all: assured ones, which the
kernel never evicts; those without a reply; TCP that is half-open, established
but idle for over 2 hours, closing; UDP that is silent for 10 seconds or longer;
translated ones; IPv6. An entry may be of several kinds.

The second table is by one of

  source       client: an IPv4 address or an IPv6 /64 (default)
  destination  address that the client asked for
  service      destination, port (type/code of ICMP) and protocol (default with
               --source)
  state        TCP state
  proto        protocol
  snat         ports in use of those that a NAT address has towards one
               destination, port and protocol; the range that they were seen in
  zone         conntrack zone
  timeout      sysctl net.netfilter.nf_conntrack_... that the timeout is of;
               its value; within what time half and 90 % of the entries end if
               they see no further packet; how short the policy lets it become,
               and how many entries that would free at once (plan --timeouts
               says more)

With --limits it takes no census, but prints what the guardian restricts just
now: the sources that are limited or dropped, the flows that bypass tracking, on
which terms, and how many packets were refused; of a source that is limited
each is the first of a connection. They are leases: what is left of one is when
the kernel ends it, unless the daemon renews it, as it does while there is a
reason. Since when and why is added from the ledger where that can be read.

With --watch a census is taken every 5 seconds, or as often as said, and printed
with the change of each row in entries per second. On a terminal it is drawn
over the last one, until q or Ctrl-C.

--json prints all lists, whatever --by and --limit say (floors and what they
would free are in plan --timeouts --json); with --watch one object a line. A
list has the 100 largest at most. Shares are from 0 to 1, of the whole table;
low and high bound the entries; all times are in seconds; and the port of ICMP
is 256 times its type plus its code. With --limits it is one list, leases: kind
is limit, drop or bypass; lease and left, and held for since when, are in
seconds; refused and refused_per_second are packets; change is the id that
actions takes. What is not known is null.`,
		Example: `  conntrack-guardian top                        # the 20 largest sources
  conntrack-guardian top --by snat --full       # who runs out of source ports
  conntrack-guardian top --watch                # as it goes, every 5 seconds
  conntrack-guardian top --watch=1s --by state
  conntrack-guardian top --source 10.0.0.5      # what that client holds
  conntrack-guardian top --source 10.0.0.0/24 --by source
  conntrack-guardian top --limits --watch=1s       # who is limited
  conntrack-guardian top --full --cpu 0.2 --json  # all, at a fifth of a CPU`,
		Args: topArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.understand(cmd); err != nil {
				return err
			}
			return t.run(cmd)
		},
	}
	t.addFlags(cmd)
	return cmd
}

func (t *top) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&t.by, "by", "", "`WHAT` to count by: "+strings.Join(viewNames(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(viewNames(), cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	fs.IntVar(&t.sample, "sample", topSample, "read `N` entries")
	fs.BoolVar(&t.full, "full", false, "read all entries")
	fs.StringVar(&t.source, "source", "", "count only what comes from `ADDR|PREFIX`")
	fs.BoolVar(&t.limits, "limits", false, "print who is limited or dropped, and what bypasses tracking")
	fs.DurationVar(&t.every, "watch", 0, "go on, with a census every `INTERVAL`")
	fs.Lookup("watch").NoOptDefVal = topEvery.String()
	fs.IntVarP(&t.limit, "limit", "n", 0, fmt.Sprintf("print `ROWS` (default %d, or as many as the terminal has room for)", topRows))
	fs.Float64Var(&t.cpu, "cpu", 1, "use at most this `SHARE` of one CPU, over 0 to 1")
	fs.StringVar(&t.namespace, "namespace", "", "`PATH` of the network namespace (default that of the policy)")
	_ = cmd.MarkFlagFilename("namespace")
	t.policyFlag(cmd)
	t.stateFlag(cmd)
	program.JSONFlag(cmd, &t.json)
}

// topArgs knows the one way in which an argument comes about.
func topArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return program.Misuse("unexpected argument %q (an interval is written --watch=2s)", args[0])
	}
	return nil
}

// understand checks the command line and fills in what it leaves open.
func (t *top) understand(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	if t.limits {
		if err := understandLimits(cmd); err != nil {
			return err
		}
	}
	switch {
	case t.full && given("sample"):
		return program.Misuse("--sample and --full exclude each other")
	case given("source") && given("sample"):
		return program.Misuse("--sample and --source exclude each other: what a source holds is always read in full")
	case t.sample < 1:
		return program.Misuse("--sample must be 1 at least, got %d", t.sample)
	case given("limit") && t.limit < 1:
		return program.Misuse("--limit must be 1 at least, got %d", t.limit)
	case given("watch") && t.every < topEveryMin:
		return program.Misuse("--watch must be %s at least, got %s", topEveryMin, t.every)
	case !(t.cpu > 0 && t.cpu <= 1):
		return program.Misuse("--cpu must be over 0 and at most 1, got %g", t.cpu)
	}
	if given("source") {
		if err := t.understandSource(); err != nil {
			return err
		}
	}
	if t.by == "" {
		t.by = views[0].by
		if t.prefix.IsValid() {
			t.by = "service"
		}
	}
	v, ok := viewBy(t.by)
	if !ok {
		return program.Misuse("--by %q: it is one of %s", t.by, strings.Join(viewNames(), ", "))
	}
	t.view = v
	return nil
}

// understandSource reads an address as the prefix that has only it. Bits beyond a
// prefix's length are dropped, as routing tables do.
func (t *top) understandSource() error {
	if p, err := netip.ParsePrefix(t.source); err == nil {
		if p.Addr().Is4In6() {
			return program.Misuse("--source %q: write it as an IPv4 prefix, such as 10.0.0.0/24", t.source)
		}
		t.prefix = p.Masked()
		return nil
	}
	a, err := netip.ParseAddr(t.source)
	if err != nil || a.Zone() != "" {
		return program.Misuse("--source %q is no address and no prefix, such as 10.0.0.5, 10.0.0.0/24 or 2001:db8::/64", t.source)
	}
	a = a.Unmap()
	t.prefix = netip.PrefixFrom(a, a.BitLen())
	return nil
}

// consult takes from the policy the namespace, unless one was named, and the floors,
// where they are shown. Who fills the table can be seen whatever is wrong with it.
func (t *top) consult(cmd *cobra.Command) {
	named, floors := cmd.Flags().Changed("namespace"), t.view.by == "timeout"
	if named && !floors {
		return
	}
	file, err := t.loadPolicy()
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%v\nThe policy file can't be used: %s.\n", err, instead(named, floors))
	}
	if !named {
		t.namespace = file.Namespace
	}
	if floors {
		t.view = t.view.floored(file.Policy.ShortenTimeouts)
	}
}

// instead says what stands for what a policy would say.
func instead(named, floors bool) string {
	const ours, builtIn = "this is of our own network namespace; --namespace names another", "the floors are those of the built-in policy"
	switch {
	case named:
		return builtIn
	case floors:
		return ours + "; " + builtIn
	}
	return ours
}

func (t *top) run(cmd *cobra.Command) error {
	t.consult(cmd)
	if t.limits {
		return reportOn(t, cmd, t.leases())
	}
	return reportOn(t, cmd, t.censuses())
}

// censuses are what is reported on without --limits.
func (t *top) censuses() subject[census.Report] {
	return subject[census.Report]{
		take:    t.census,
		page:    func(now, before *census.Report, watch bool) page { return &topPage{t.view, now, before, watch} },
		patient: func(err error) bool { return errors.Is(err, census.ErrResized) },
	}
}

// census takes one, and shows how far it is if it takes long.
func (t *top) census(ctx context.Context, show func(text string, urgent bool)) (census.Report, error) {
	o := census.Options{Namespace: t.namespace, Sample: t.sample, CPU: t.cpu, Source: t.prefix}
	if t.full {
		o.Sample = 0
	}
	began := time.Now()
	o.Progress = func(read, table int) {
		if time.Since(began) >= t.slow {
			show(progressText(read, table), false)
		}
	}
	r, err := t.take(ctx, o)
	if err != nil {
		return r, t.explain(err)
	}
	return r, nil
}

// explain says what to do about an error of a census.
func (t *top) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission): // it names the capability that is missing
		return fmt.Errorf("%w: run as root", err)
	case errors.Is(err, census.ErrResized) && t.full && !t.prefix.IsValid():
		return fmt.Errorf("%w: try again once nothing resizes the hash table, or take a sample, which is soon over", err)
	case errors.Is(err, census.ErrResized):
		return fmt.Errorf("%w: try again once nothing resizes the hash table", err)
	case errors.Is(err, census.ErrAbsent):
		return fmt.Errorf("%w: the first rule that needs it loads it, or modprobe nf_conntrack", err)
	}
	return err
}

// progressText says how far a census is.
func progressText(read, table int) string {
	text := "read " + entriesText(read)
	if read <= table && table > 0 { // else entries came faster than they were read
		text += " of " + policy.Number(table) + " (" + policy.Percent(float64(read)/float64(table)) + ")"
	}
	return text
}
