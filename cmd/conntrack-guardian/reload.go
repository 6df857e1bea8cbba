package main

import (
	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

func reloadCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its policy now",
		Long: `Have the daemon read its policy now, without waiting until it notices that the
file has changed. A policy with mistakes is refused: they are printed, the last
good policy stays in force, and the exit code is 1.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.ask(cmd, control.Request{Verb: control.Reload})
		},
	}
	f.socketFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}
