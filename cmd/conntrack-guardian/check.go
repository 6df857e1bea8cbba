package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

func checkCommand(f *flags) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a policy file and print every problem",
		Long: `Check a policy file and print every problem in it, one a line:

  file:line:column: key: message

Without FILE the installed policy ` + defaultPolicy + ` is checked.`,
		Args: program.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := defaultPolicy
			if len(args) == 1 {
				path = args[0]
			}
			return check(cmd, path, f.json, quiet)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing about a file without problems")
	program.JSONFlag(cmd, &f.json)
	return cmd
}

func check(cmd *cobra.Command, path string, asJSON, quiet bool) error {
	file, err := config.Load(path)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case asJSON:
		if err := program.PrintJSON(out, struct {
			File     string          `json:"file"`
			Problems config.Problems `json:"problems"`
		}{path, append(config.Problems{}, problems...)}); err != nil {
			return err
		}
	case len(problems) > 0:
		fmt.Fprintln(out, problems.Error())
	case !quiet:
		fmt.Fprintf(out, "%s: no problems, mode %s\n", path, file.Policy.Mode)
	}
	if len(problems) > 0 {
		return program.ErrReported
	}
	return nil
}
