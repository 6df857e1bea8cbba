package main

import (
	"context"
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
		Short: "Watch for a second and print what the policy would do; changes nothing",
		Long: `Watch the table for a second and print what the policy would do. It needs no
daemon, and changes nothing but that the kernel removes expired entries where a
census comes by them.

With --timeouts it prints instead what shorter timeouts would free now, from a
sample of the table or, with --full, from all of it. The timeouts are the floors of
the policy, whatever else that says of the measure, or those that are given. A
class is named like its sysctl without nf_conntrack_, or shorter as long as it is
clear: tcp_timeout_time_wait, tcp_time_wait, time_wait.

Existing entries are taken as if the new timeout had always been in force: those
that have been silent for as long are freed at once, and the others of the class
end sooner by the difference. Entries that are offloaded, have a timeout fixed or
more time left than their class gives are not among them, nor are assured
connections in ESTABLISHED unless the policy allows to end them. ± has the
uncertainty of a sample, and of a histogram of the seconds that entries have left.`,
		Example: `  conntrack-guardian plan                              # what the policy would do now
  conntrack-guardian plan --timeouts                   # what its floors would free
  conntrack-guardian plan --timeouts time_wait=30s     # what 30 s of TIME_WAIT would
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
	Mode        string            `json:"mode"`
	Count       int               `json:"count"`
	Max         int               `json:"max"`
	Buckets     int               `json:"buckets"`
	Utilization float64           `json:"utilization"`
	FillRate    float64           `json:"fill_rate"`    // entries per second
	TimeToFull  *float64          `json:"time_to_full"` // seconds, null when it does not fill
	Cause       policy.Cause      `json:"cause"`
	Pattern     policy.Pattern    `json:"pattern"`
	Confidence  float64           `json:"confidence"`
	Evidence    string            `json:"evidence"`
	Census      string            `json:"census"` // what came of it, empty when there was no need of one
	Decisions   []policy.Decision `json:"decisions"`
}

func makePlan(ctx context.Context, file config.File, stateDir string) (p plan, err error) {
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
	s := policy.Snapshot{Changes: guard.Recall(changes, id, file.Namespace)}
	// Without what the daemon has learned it is a plan all the same.
	baseline, _ := guard.LoadBaseline(stateDir)
	state := policy.State{Baseline: baseline}
	file.Policy.Watch.Window = min(file.Policy.Watch.Window, planWindow)
	p = plan{Mode: file.Policy.Mode.String(), Decisions: []policy.Decision{}}
	for i := range planReadings {
		if i > 0 {
			time.Sleep(planApart)
		}
		if err := sensor.Read(&s); err != nil {
			return plan{}, err
		}
		before, now := state, boot.Now()
		var ds []policy.Decision
		state, ds = policy.Decide(before, s, file.Policy, now)
		if p.Census == "" && state.WantsCensus(&file.Policy, 0, now) {
			// The same step again, with what the daemon would know a moment later.
			s.Census, p.Census = look(ctx, file)
			state, ds = policy.Decide(before, s, file.Policy, now)
		}
		p.Decisions = append(p.Decisions, ds...)
		// A second act would follow only what the first had done.
		if acts(ds) {
			break
		}
	}
	p.read(&s, &state.Now)
	return p, nil
}

// read fills in what was read and found.
func (p *plan) read(s *policy.Snapshot, a *policy.Assessment) {
	p.Count, p.Max, p.Buckets, p.Utilization = s.Count, s.Max, s.Buckets, a.Utilization
	p.FillRate, p.TimeToFull = a.FillRate, policy.Seconds(a.TimeToFull)
	p.Cause, p.Pattern, p.Confidence, p.Evidence = a.Cause, a.Pattern, a.Confidence, a.Evidence()
}

// look takes a census. It leaves the kernel's nft tables alone, since a plan changes
// nothing.
func look(ctx context.Context, file config.File) (found policy.Census, outcome string) {
	file.Policy.Census.CountNew = policy.CountNever
	seen, err := sense.NewScout(file.Namespace).Look(ctx, file.Policy)
	if err != nil {
		return policy.Census{}, "none: " + err.Error()
	}
	return seen.Census, fmt.Sprintf("%s entries read", policy.Number(seen.Census.Read))
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
		cause = guard.Diagnosis(p.Cause, p.Pattern, p.Confidence)
	}
	fmt.Fprintf(w, "table  %s\nmode   %s\ncause  %s\n", p.Evidence, p.Mode, cause)
	if p.Census != "" {
		fmt.Fprintf(w, "census %s\n", p.Census)
	}
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
