package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func replayCommand(f *flags) *cobra.Command {
	by := ""
	cmd := &cobra.Command{
		Use:   "replay RECORD [--policy FILE]",
		Short: "Decide a recorded incident again, by the same policy or another",
		Long: `Decide a recorded incident again, by the policy of then or by another, and print
what was decided then beside what would be decided. It needs no daemon and
touches nothing.

RECORD is the id of an episode, the file of one (also from elsewhere), a segment
of the flight record, or its directory, which is all of it.

Until something else is done than then, every reading is taken as it was
recorded: so the policy of then decides the same, to the letter. From there on
the replay has changes and limits of its own, and estimates how many entries
there would have been: as many as there were, what the full table of then
refused included, for two minutes each. What shortened timeouts, limits and
bypasses free is not in the estimate.

Marks: = the same, ~ the same for another reason, ! otherwise,
       - only then, + only now

  open, close  an episode
  cause        a diagnosis
  rank         who holds how much
  advise       what was not done, for want of approval
  bounded      what a bound of the policy left undone
  judge #1     whether change 1 helped
  undo #1      change 1 is taken back by the policy
  yield #1     change 1 is left to somebody else
  any other    a change that is made

What an operator did is input, and has no line. Times are UTC. --json has every
decision with its reason. The exit code is 0 also where decisions differ.`,
		Example: `  conntrack-guardian replay 20260301T031134Z                    # as it was
  conntrack-guardian replay 20260301T031134Z --policy new.toml  # as it would be
  conntrack-guardian replay /var/lib/conntrack-guardian/record --policy new.toml`,
		Args: program.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.readRecord(args[0])
			if err != nil {
				return err
			}
			var c *policy.Config
			if by != "" {
				file, err := config.Load(by)
				if err != nil {
					return err
				}
				c = &file.Policy
			}
			played := play(r, c)
			played.Policy = by
			if f.json {
				err = program.PrintJSON(cmd.OutOrStdout(), played)
			} else {
				err = printLines(cmd.OutOrStdout(), played.lines(), false)
			}
			if err == nil && len(played.Damage) > 0 {
				return fmt.Errorf("not all of it can be read: %s", printable(strings.Join(played.Damage, "\n")))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&by, "policy", "", "policy `FILE` to decide by (default: as recorded)")
	_ = cmd.MarkFlagFilename("policy", "toml") // fails only for a flag that is not there
	f.stateFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// readRecord reads a file or a directory by its path, or an episode by its id.
func (f *flags) readRecord(name string) (*record.Record, error) {
	if _, err := os.Stat(name); err == nil || strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, record.EpisodeSuffix) {
		return record.Read(name)
	}
	r, err := record.Find(recordDir(f.stateDir), name)
	if err != nil {
		return nil, fmt.Errorf("%w (episodes lists what there is; --state-dir names the directory)", err)
	}
	return r, nil
}
