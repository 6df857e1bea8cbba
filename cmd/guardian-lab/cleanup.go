package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

func cleanupCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Take away what killed labs left behind",
		Long: `Delete the namespaces and files of labs that were killed, and put back
nf_conntrack_max and nf_conntrack_buckets if they held them. Labs that are running
are left alone. Doing it again does nothing.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			done, err := lab.Cleanup(cmd.Context())
			if asJSON {
				if werr := program.PrintJSON(cmd.OutOrStdout(), done); err == nil {
					err = werr
				}
				return err
			}
			printCleaned(cmd.OutOrStdout(), done)
			return err
		},
	}
	program.JSONFlag(cmd, &asJSON)
	return cmd
}

func printCleaned(w io.Writer, done lab.Cleaned) {
	for _, name := range done.Namespaces {
		fmt.Fprintf(w, "deleted namespace %s\n", name)
	}
	for _, dir := range done.Dirs {
		fmt.Fprintf(w, "removed %s\n", dir)
	}
	if m := done.Max; m != nil {
		fmt.Fprintf(w, "nf_conntrack_max: found %d, now %d; nf_conntrack_buckets: found %d, now %d\n",
			m.Found.Max, m.Now.Max, m.Found.Buckets, m.Now.Buckets)
	}
	for _, pid := range done.Live {
		fmt.Fprintf(w, "left alone: the lab with pid %d is running\n", pid)
	}
	if len(done.Namespaces)+len(done.Dirs) == 0 && done.Max == nil {
		fmt.Fprintln(w, "nothing to clean up")
	}
}
