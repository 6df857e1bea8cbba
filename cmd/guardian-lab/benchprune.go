package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/ti-mo/conntrack"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// benchPruners are the contenders that this program plays itself. They return how
// many entries they deleted.
var benchPruners = map[string]func(context.Context) (int, error){
	theWalk:    walkTable,
	theSingles: func(context.Context) (int, error) { return deleteSingly() },
}

// benchPruneCommand is a contender of `bench walk`, in a process of its own and of
// the namespace that it was started in.
func benchPruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "prune CONTENDER",
		Short:     "Take what is in TIME_WAIT out of the table of this network namespace in one way",
		Hidden:    true,
		ValidArgs: slices.Sorted(maps.Keys(benchPruners)),
		Args:      program.Args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, args []string) error {
			deleted, err := benchPruners[args[0]](cmd.Context())
			if err != nil {
				return err
			}
			return program.PrintJSON(cmd.OutOrStdout(), benchAnswer{Deleted: deleted})
		},
	}
}

// walkTable does it as the daemon does, as fast as it goes.
func walkTable(ctx context.Context) (int, error) {
	p := entries.Plan{Retime: true}
	p.Rules[timeout.TCPTimeWait] = entries.Rule{New: walkShort, Was: []entries.Was{{Timeout: walkNormal}}}
	r, err := entries.Walk(ctx, p)
	return r.Deleted, err
}

// deleteSingly does it in the usual way: it has the library read all entries, and
// then delete those it is about, each by a message that is acknowledged.
func deleteSingly() (deleted int, err error) {
	c, err := conntrack.Dial(nil)
	if err != nil {
		return 0, fmt.Errorf("open ti-mo/conntrack: %w", err)
	}
	defer c.Close() // what it did was acknowledged
	flows, err := c.Dump(nil)
	if err != nil {
		return 0, fmt.Errorf("dump by ti-mo/conntrack: %w", err)
	}
	for _, f := range flows {
		if f.ProtoInfo.TCP == nil || f.ProtoInfo.TCP.State != lab.TimeWait {
			continue
		}
		if err := c.Delete(f); err != nil {
			return deleted, fmt.Errorf("delete by ti-mo/conntrack: %w", err)
		}
		deleted++
	}
	return deleted, nil
}
