package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A plan looks this often, this far apart: enough for a fill rate.
const (
	planReadings = 5
	planApart    = 250 * time.Millisecond
)

func planCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Watch for a second and print what the policy would do; changes nothing",
		Args:  program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := f.loadPolicy()
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%v\nThe policy file can't be used: this is what the built-in policy would do.\n", err)
				file = config.Default()
			}
			p, err := makePlan(file, f.stateDir)
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
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// plan is what `plan --json` prints.
type plan struct {
	Mode        string            `json:"mode"`
	Count       int               `json:"count"`
	Max         int               `json:"max"`
	Buckets     int               `json:"buckets"`
	Utilization float64           `json:"utilization"`
	FillRate    float64           `json:"fill_rate"`    // entries per second
	TimeToFull  *float64          `json:"time_to_full"` // seconds, null when it does not fill
	Cause       policy.Cause      `json:"cause"`
	Evidence    string            `json:"evidence"`
	Decisions   []policy.Decision `json:"decisions"`
}

func makePlan(file config.File, stateDir string) (plan, error) {
	sensor, err := sense.Open(file.Namespace)
	if err != nil {
		return plan{}, err
	}
	defer sensor.Close()
	changes, err := ledger.Read(stateDir)
	if err != nil {
		return plan{}, err
	}
	id, err := boot.ID()
	if err != nil {
		return plan{}, err
	}
	s := policy.Snapshot{Changes: guard.Recall(changes, id)}
	var state policy.State
	decided := []policy.Decision{}
	for i := range planReadings {
		if i > 0 {
			time.Sleep(planApart)
		}
		if err := sensor.Read(&s); err != nil {
			return plan{}, err
		}
		var ds []policy.Decision
		state, ds = policy.Decide(state, s, file.Policy, boot.Now())
		decided = append(decided, ds...)
		// A second act would follow only what the first had done.
		if acts(ds) {
			break
		}
	}
	a := &state.Now
	return plan{
		Mode: file.Policy.Mode.String(), Count: s.Count, Max: s.Max, Buckets: s.Buckets,
		Utilization: a.Utilization, FillRate: a.FillRate, Cause: a.Cause, Evidence: a.Evidence(), Decisions: decided,
		TimeToFull: policy.Seconds(a.TimeToFull),
	}, nil
}

func acts(ds []policy.Decision) bool {
	for _, d := range ds {
		switch d.Verb {
		case policy.Do, policy.Undo, policy.Yield:
			return true
		}
	}
	return false
}

func printPlan(w io.Writer, p plan) {
	cause := "none"
	if p.Cause != policy.None {
		cause = string(p.Cause)
	}
	fmt.Fprintf(w, "table  %s\nmode   %s\ncause  %s\n", p.Evidence, p.Mode, cause)
	if p.Max == 0 {
		fmt.Fprintln(w, "The kernel keeps no limit (nf_conntrack_max is 0): there is nothing to guard.")
		return
	}
	if len(p.Decisions) == 0 {
		fmt.Fprintln(w, "Nothing is to be done.")
	}
	for _, d := range p.Decisions {
		if d.Verb == policy.Do {
			fmt.Fprint(w, "would ")
		}
		fmt.Fprintln(w, guard.Sentence(d))
	}
}
