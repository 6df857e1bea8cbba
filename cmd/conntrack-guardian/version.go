package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

func versionCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.json {
				return program.PrintJSON(cmd.OutOrStdout(), map[string]string{"version": program.Version()})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "conntrack-guardian %s\n", program.Version())
			return err
		},
	}
	program.JSONFlag(cmd, &f.json)
	return cmd
}
