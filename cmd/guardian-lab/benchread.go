package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"
	"github.com/ti-mo/conntrack"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// benchSample is how many entries the sample reads.
const benchSample = 20_000

// benchReaders are the contenders that this program plays itself.
var benchReaders = map[string]func(context.Context) (benchAnswer, error){
	theFloor:   discardTable,
	theFull:    func(ctx context.Context) (benchAnswer, error) { return takeCensus(ctx, 0) },
	theSample:  func(ctx context.Context) (benchAnswer, error) { return takeCensus(ctx, benchSample) },
	theLibrary: func(context.Context) (benchAnswer, error) { return dumpTable() },
}

// benchReadCommand is a contender of `bench census`, in a process of its own and
// of the namespace that it was started in.
func benchReadCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "read CONTENDER",
		Short:     "Read the table of this network namespace in one way",
		Hidden:    true,
		ValidArgs: slices.Sorted(maps.Keys(benchReaders)),
		Args:      program.Args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := benchReaders[args[0]](cmd.Context())
			if err != nil {
				return err
			}
			return program.PrintJSON(cmd.OutOrStdout(), a)
		},
	}
}

func discardTable(ctx context.Context) (a benchAnswer, err error) {
	c, err := ctnetlink.Open()
	if err != nil {
		return a, err
	}
	defer c.Close() // only read
	_, a.Bytes, err = c.Discard(ctx)
	return a, err
}

func takeCensus(ctx context.Context, sample int) (a benchAnswer, err error) {
	r, err := census.Take(ctx, census.Options{Sample: sample})
	if err != nil {
		return a, err
	}
	return answerOf(r)
}

// dumpTable answers the questions of a census in the usual way: it has the library
// read all entries, then counts them in maps.
func dumpTable() (a benchAnswer, err error) {
	c, err := conntrack.Dial(nil)
	if err != nil {
		return a, fmt.Errorf("open ti-mo/conntrack: %w", err)
	}
	defer c.Close() // only read
	flows, err := c.Dump(nil)
	if err != nil {
		return a, fmt.Errorf("dump by ti-mo/conntrack: %w", err)
	}
	t := newFlowTally()
	for i := range flows {
		t.add(&flows[i])
	}
	a.Entries = len(flows)
	for source, n := range t.sources {
		if n > a.Count {
			a.Source, a.Count = source, n
		}
	}
	return a, nil
}

// A flowTally counts what a census does, but for ports of NAT, zones and timeouts.
type flowTally struct {
	sources, destinations map[netip.Addr]int
	services              map[netip.AddrPort]map[uint8]int
	protocols, states     map[uint8]int
	statuses              map[conntrack.Status]int
}

func newFlowTally() *flowTally {
	return &flowTally{
		map[netip.Addr]int{},
		map[netip.Addr]int{},
		map[netip.AddrPort]map[uint8]int{},
		map[uint8]int{},
		map[uint8]int{},
		map[conntrack.Status]int{},
	}
}

func (t *flowTally) add(f *conntrack.Flow) {
	ip, proto := f.TupleOrig.IP, f.TupleOrig.Proto
	t.sources[ip.SourceAddress]++
	t.destinations[ip.DestinationAddress]++
	t.statuses[f.Status]++
	t.protocols[proto.Protocol]++
	if f.ProtoInfo.TCP != nil {
		t.states[f.ProtoInfo.TCP.State]++
	}
	to := netip.AddrPortFrom(ip.DestinationAddress, proto.DestinationPort)
	if t.services[to] == nil {
		t.services[to] = map[uint8]int{}
	}
	t.services[to][proto.Protocol]++
}
