package main

import (
	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

func approveCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Have the daemon do what it advises",
		Long: `Have the daemon do what it advises. The journal names each piece of advice by
its ID (ADVICE_ID), and so does status.

It is done if a fresh reading still calls for it, within the bounds of the
policy, even in mode advise and beyond the acts that an hour may have, but not
while it is paused. Otherwise nothing is done, and the answer says why. What was
approved is in the ledger like all else, with who approved it, and is taken back
like all else. A measure that is in mode observe or off can't be approved.`,
		Example: `  conntrack-guardian status                    # lists advice with its ids
  conntrack-guardian approve raise-max-3f2a1`,
		Args: program.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.ask(cmd, control.Request{Verb: control.Approve, ID: args[0]})
		},
	}
	f.socketFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}
