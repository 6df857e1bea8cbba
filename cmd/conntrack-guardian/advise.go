package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// defaultHeadroom is room for as much again as the peak: a flood of its size, or a year
// or two of growth.
const defaultHeadroom = 2

// adviseArgs are what the command line says.
type adviseArgs struct {
	headroom  float64
	namespace string
	sample    int
	full      bool
	write     string // directory
	force     bool
}

func adviseCommand(f *flags) *cobra.Command {
	return adviseCommandWith(f, (*survey).look)
}

// adviseCommandWith is the command over a survey that is completed in some way.
func adviseCommandWith(f *flags, find func(*survey) error) *cobra.Command {
	var a adviseArgs
	cmd := &cobra.Command{
		Use:   "advise",
		Short: "Print permanent sizes for the table, from what was learned of it",
		Long: `Print permanent sizes for the connection-tracking table, each with its reason,
its cost and its trade-off. They rest on the hours that the daemon has learned,
on its flight record and on a census. It needs no daemon running, and changes
nothing but that the kernel removes expired entries where a census comes by
them.

  nf_conntrack_max      the entries that 99 of 100 hours don't exceed, times
                        --headroom, within the memory budget of the policy
  nf_conntrack_buckets  a quarter of that at least, and two entries a hash chain
                        on average at the peak; never less than there is
  alerts                thresholds for monitoring
  timeouts              that hold a good part of the table and could be shorter,
                        with what that frees and what it costs. The sizes do
                        without them: each is a choice
  source ports          NAT addresses that the fullest destinations need
  untracked             services of which no entry is translated, such as the
                        gateway's own resolver: they need no entry (NOTRACK)

With less than an hour of readings nothing is sized, and with less than a day
all figures are marked as provisional. Values that the guardian has changed for
the time being count as they were before.

--write writes them as files with comments below a directory, ready to be looked
through and copied to /etc: sysctl.d, modprobe.d and modules-load.d. It never
writes below /etc, /usr, /lib or /run itself, and replaces no file without
--force. Timeouts are in the file as comments.`,
		Example: `  conntrack-guardian advise                        # sizes for good, and why
  conntrack-guardian advise --headroom 3 --full    # more room; read all entries
  conntrack-guardian advise --write ./sizing       # as files`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.understand(cmd); err != nil {
				return err
			}
			return a.run(cmd, f, find)
		},
	}
	a.addFlags(cmd, f)
	return cmd
}

func (a *adviseArgs) addFlags(cmd *cobra.Command, f *flags) {
	fs := cmd.Flags()
	fs.Float64Var(&a.headroom, "headroom", defaultHeadroom, "make nf_conntrack_max `N` times the peak, 1 to 100")
	fs.IntVar(&a.sample, "sample", topSample, "read `N` entries")
	fs.BoolVar(&a.full, "full", false, "read all entries")
	fs.StringVar(&a.namespace, "namespace", "", "`PATH` of the network namespace (default that of the policy)")
	fs.StringVar(&a.write, "write", "", "write the files below `DIR`")
	fs.BoolVar(&a.force, "force", false, "with --write, replace files that are there")
	_ = cmd.MarkFlagFilename("namespace") // fails only for a flag that is not there
	_ = cmd.MarkFlagDirname("write")
	f.policyFlag(cmd)
	f.stateFlag(cmd)
	program.JSONFlag(cmd, &f.json)
}

// understand checks the command line.
func (a *adviseArgs) understand(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case !(a.headroom >= 1 && a.headroom <= 100):
		return program.Misuse("--headroom must be 1 to 100, got %g", a.headroom)
	case a.full && given("sample"):
		return program.Misuse("--sample and --full exclude each other")
	case a.sample < 1:
		return program.Misuse("--sample must be 1 at least, got %d", a.sample)
	case given("write") && a.write == "":
		return program.Misuse("--write names no directory")
	case a.force && a.write == "":
		return program.Misuse("--force is for --write")
	}
	return nil
}

func (a *adviseArgs) run(cmd *cobra.Command, f *flags, find func(*survey) error) error {
	if a.write != "" { // before all that takes time
		if err := checkSizingDir(a.write); err != nil {
			return err
		}
	}
	found, err := a.survey(cmd, f)
	if err == nil && found.baseline.Span() >= time.Hour { // else nothing is sized, whatever there is
		err = find(found)
	}
	if err != nil {
		return err
	}
	adv, err := found.advice(a.headroom)
	if err != nil {
		return explainTooLittle(err, f.stateDir)
	}
	if a.write != "" {
		if adv.Files, err = writeSizing(a.write, adv.files(), a.force); err != nil {
			return err
		}
	}
	out := cmd.OutOrStdout()
	if f.json {
		return program.PrintJSON(out, adv)
	}
	return printLines(out, adv.lines(), cleverTerminal(out) != nil)
}

// explainTooLittle says how more is learned.
func explainTooLittle(err error, stateDir string) error {
	if errors.Is(err, policy.ErrTooLittle) {
		return fmt.Errorf("%w; what is learned is in %s (the daemon learns in every mode and saves it every hour; "+
			"a day shows a busy hour, a week all of them)", err, filepath.Join(stateDir, "baseline.json"))
	}
	return err
}

// An advice is what `advise --json` prints.
type advice struct {
	Time      time.Time `json:"time"`
	StateDir  string    `json:"state_dir"`
	Namespace string    `json:"namespace"` // empty for our own
	Headroom  float64   `json:"headroom"`
	Census    string    `json:"census"` // what came of it
	BuiltIn   bool      `json:"built_in"`
	policy.Sizing
	Files []string `json:"files"` // that were written
}
