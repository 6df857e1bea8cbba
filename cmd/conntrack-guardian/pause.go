package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func pauseCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause DURATION",
		Short: "Have the daemon change nothing for a while",
		Long: `Have the daemon change nothing for a while, such as 30m or 1h30m, at most a day:
it does nothing new and undoes nothing but what a new policy forbids. It goes on
watching, advising and recording, and renews the leases in force. An approval is
refused meanwhile; a rollback is carried out.

Asked again, the pause lasts from now on. It ends by itself, by resume, and with
a reboot. A daemon that is started again is still paused: status says until
when, and by whom.`,
		Example: `  conntrack-guardian pause 30m
  conntrack-guardian resume`,
		Args: program.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			span, err := pauseSpan(args[0])
			if err != nil {
				return err
			}
			return f.ask(cmd, control.Request{Verb: control.Pause, For: span})
		},
	}
	f.socketFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// pauseSpan reads how long to pause, in whole seconds.
func pauseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < control.MinPause || d > control.MaxPause {
		return 0, program.Misuse("%q is no time to pause: it is %s to %s, such as 30m", text, policy.Short(control.MinPause), policy.Short(control.MaxPause))
	}
	return d.Round(time.Second), nil
}

func resumeCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End a pause",
		Args:  program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.ask(cmd, control.Request{Verb: control.Resume})
		},
	}
	f.socketFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}
