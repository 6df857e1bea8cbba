package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// eachWithGateway measures each case of a benchmark with a gateway of its own and
// the machine's values that the case needs.
func eachWithGateway(cmd *cobra.Command, cases []int, sizes func(int) lab.Sizes,
	measure func(context.Context, *lab.Gateway, int) error,
) error {
	for _, c := range cases {
		err := withGateway(cmd, lab.Options{}, sizes(c), func(ctx context.Context, g *lab.Gateway) error { return measure(ctx, g, c) })
		if err != nil {
			return err
		}
	}
	return nil
}

// takeTurns lets each of some have its turn in each round, in another order each
// round: what goes on beside them and what one leaves to the next meets all alike.
func takeTurns(rounds, of int, turn func(round, i int) error) error {
	for round := range rounds {
		for i := range of {
			if err := turn(round, (i+round)%of); err != nil {
				return err
			}
		}
	}
	return nil
}

// A judged result can say what of its targets is met.
type judged interface {
	judge()
	write(w io.Writer) error
}

// conclude ends the line of progress, and prints the result unless there was an
// error.
func conclude(cmd *cobra.Command, line *program.Line, err error, asJSON bool, r judged) error {
	line.End()
	if err != nil {
		return err
	}
	r.judge()
	if asJSON {
		return program.PrintJSON(cmd.OutOrStdout(), r)
	}
	return r.write(cmd.OutOrStdout())
}
