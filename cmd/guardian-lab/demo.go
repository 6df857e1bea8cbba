package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab/demo"
)

type demoFlags struct {
	config demo.Config
	json   bool
	quiet  bool
}

func demoCommand() *cobra.Command {
	f := demoFlags{config: demo.Default()}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a flood without and with the guardian",
		Long: `Send the same flood through a gateway twice, without and with the guardian, and
count the new connections that well-behaved clients lose. Takes about a minute;
the machine's nf_conntrack_max is lowered meanwhile and put back.

Exit code 1 if a connection was lost with the guardian, if none was lost without
it, or if anything was left changed.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return show(cmd, f) },
	}
	c := &f.config
	cmd.Flags().StringVar(&c.Guardian, "guardian", "", "`PATH` of conntrack-guardian (default: beside this program)")
	cmd.Flags().IntVar(&c.Max, "max", c.Max, "nf_conntrack_max during the demonstration; much less than the default leaves no room for the clients' own entries, and is not lowered to again")
	cmd.Flags().IntVar(&c.Rate, "rate", c.Rate, "new flows of the flood per second; it sends twice the max")
	cmd.Flags().IntVar(&c.TCP, "tcp", c.TCP, "new connections of well-behaved clients per second")
	cmd.Flags().IntVar(&c.UDP, "udp", c.UDP, "UDP exchanges of well-behaved clients per second")
	cmd.Flags().DurationVar(&c.Before, "before", c.Before, "quiet before the flood")
	cmd.Flags().DurationVar(&c.Top, "top", c.Top, "time at the top after the flood")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	program.JSONFlag(cmd, &f.json)
	return cmd
}

func show(cmd *cobra.Command, f demoFlags) (err error) {
	if err := f.config.Check(); err != nil {
		return program.Misuse("%w", err)
	}
	if err := needRoot(); err != nil {
		return err
	}
	if f.config.Guardian, err = findGuardian(f.config.Guardian); err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr())
	if !f.quiet {
		f.config.Progress = p.show
	}
	r, err := demo.Show(cmd.Context(), f.config)
	p.end()
	if err != nil {
		return err
	}
	if f.json {
		err = program.PrintJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.Write(cmd.OutOrStdout())
	}
	if err == nil && len(r.Problems) > 0 {
		err = program.ErrReported
	}
	return err
}

// findGuardian looks before anything is changed.
func findGuardian(path string) (string, error) {
	if path == "" {
		me, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(me), "conntrack-guardian")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find the guardian: %w (name it with --guardian)", err)
	}
	return filepath.Abs(path)
}
