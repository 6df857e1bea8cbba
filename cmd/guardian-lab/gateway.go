package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

func maxFlag(cmd *cobra.Command, to *int) {
	cmd.Flags().IntVar(to, "max", 0, "set the machine's nf_conntrack_max to `N` for the run and keep other labs from changing it (default: leave it)")
}

// withGateway runs fn with a gateway and those sizes that are not 0, and takes both
// back whatever fn does.
func withGateway(cmd *cobra.Command, opts lab.Options, sizes lab.Sizes, fn func(context.Context, *lab.Gateway) error) (err error) {
	ctx := cmd.Context()
	if sizes.Max < 0 || sizes.Buckets < 0 {
		return program.Misuse("max of %d, buckets of %d", sizes.Max, sizes.Buckets)
	}
	if err := needRoot(); err != nil {
		return err
	}
	if sizes != (lab.Sizes{}) {
		hold, err := lab.HoldSizes(ctx, sizes)
		if err != nil {
			return err
		}
		defer func() {
			_, undo := hold.Release()
			err = errors.Join(err, undo)
		}()
	}
	g, err := lab.NewGateway(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	fmt.Fprintf(cmd.ErrOrStderr(), "gateway: %s\n", g.Router.Path())
	return fn(ctx, g)
}
