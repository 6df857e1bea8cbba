package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A plan looks this often, this far apart: half a window of planWindow, which is
// enough for a fill rate.
const (
	planReadings = 6
	planApart    = 250 * time.Millisecond
	planWindow   = 2 * time.Second
)

func planCommand(f *flags) *cobra.Command {
	return planCommandWith(f, &whatIf{top: top{flags: f, take: census.Take, slow: topSlow, cpu: 1}})
}

func planCommandWith(f *flags, w *whatIf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [--timeouts [CLASS=DURATION...]]",
		Short: "Print what the policy would do just now; changes nothing",
		Long: `Watch the table for a second and print what the policy would do. It needs no
daemon, and changes nothing but that the kernel removes expired entries where a
census comes by them.

While there is trouble it takes two censuses a second apart, and a third where
that decides. How fast a source makes connections is then how fast its entries
become more, which is less where others of them end: the daemon counts new
connections instead, but that takes a table in the kernel. It names those who
are never limited, and looks for the flows that the policy lets bypass tracking,
which reads the whole table.

With --timeouts it prints instead what shorter timeouts would free now, from a
sample of the table or, with --full, from all of it. The timeouts are the floors
of the policy, whatever else that says of the measure, or those that are given.
A class is named like its sysctl without nf_conntrack_, or shorter as long as it
is clear: tcp_timeout_time_wait, tcp_time_wait, time_wait.

Existing entries are taken as if the new timeout had always been in force: those
that have been silent for as long are freed at once, and the others of the class
end sooner by the difference. Entries that are offloaded, have a timeout fixed
or more time left than their class gives are not among them, nor are assured
connections in ESTABLISHED unless the policy allows to end them. ± has the
uncertainty of a sample, and of a histogram of the seconds that entries have
left.`,
		Example: `  conntrack-guardian plan                           # what the policy would do
  conntrack-guardian plan --timeouts                # what its floors would free
  conntrack-guardian plan --timeouts time_wait=30s  # what 30 s would
  conntrack-guardian plan --timeouts --full tcp_close_wait=20s udp=10s`,
		Args: w.understand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if w.asked {
				return w.run(cmd)
			}
			file, err := f.loadPolicy()
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%v\nThe policy file can't be used: this is what the built-in policy would do.\n", err)
				file = config.Default()
			}
			p, err := makePlan(cmd.Context(), file, f.stateDir)
			if err != nil {
				return err
			}
			if f.json {
				return program.PrintJSON(cmd.OutOrStdout(), p)
			}
			printPlan(cmd.OutOrStdout(), p)
			return nil
		},
	}
	f.policyFlag(cmd)
	f.stateFlag(cmd)
	w.addFlags(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// plan is what `plan --json` prints.
type plan struct {
	Mode        string         `json:"mode"`
	Count       int            `json:"count"`
	Max         int            `json:"max"`
	Buckets     int            `json:"buckets"`
	Utilization float64        `json:"utilization"`
	FillRate    float64        `json:"fill_rate"`    // entries per second
	TimeToFull  *float64       `json:"time_to_full"` // seconds, null when it does not fill
	Cause       policy.Cause   `json:"cause"`
	Pattern     policy.Pattern `json:"pattern"`
	Confidence  float64        `json:"confidence"`
	Evidence    string         `json:"evidence"`
	Census      string         `json:"census"` // what came of it, empty when there was no need of one
	// Allowed are never limited, besides those that the policy lists; Unlisted is why not
	// all of them are known. Where the policy limits nobody they are not looked for.
	Allowed  []allowedSource `json:"allowed"`
	Unlisted string          `json:"unlisted"`
	// Flows are those that were looked for in the table, as they may bypass tracking;
	// Unseen is why that was not done to the end.
	Flows     []flowSight       `json:"flows"`
	Unseen    string            `json:"unseen"`
	Decisions []policy.Decision `json:"decisions"`
}

type allowedSource struct {
	Prefix netip.Prefix `json:"prefix"`
	Why    string       `json:"why"` // own address, default gateway, name server, SSH peer, allowed by the policy
}

type flowSight struct {
	Flow    string `json:"flow"`
	Entries int    `json:"entries"` // of it; without any there is nothing to gain, and it stays tracked unless it is a lifeline
	NAT     string `json:"nat"`     // one that is translated, for which it stays tracked; empty if there is none
}
