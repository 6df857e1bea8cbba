// Command conntrack-guardian watches the connection-tracking table of a NAT
// gateway and, within the bounds of an approved policy, keeps it from filling up.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line and returns its exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	out := &faithful{w: stdout}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil && out.err != nil {
		err = fmt.Errorf("write the output: %w", out.err)
	}
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "conntrack-guardian: %v\nTry 'conntrack-guardian --help'.\n", err)
		return exitUsage
	case !errors.Is(err, errReported):
		fmt.Fprintf(stderr, "conntrack-guardian: %v\n", err)
	}
	return exitFailed
}

// faithful remembers that not all of the output could be written, so that a
// command whose output is lost does not end as done.
type faithful struct {
	w   io.Writer
	err error
}

func (f *faithful) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if f.err == nil {
		f.err = err
	}
	return n, err
}

// usageError is a command line that can't be understood.
type usageError struct{ error }

// errReported ends a command with exit code 1 whose output already says why.
var errReported = errors.New("already reported")

const (
	defaultPolicy   = "/etc/conntrack-guardian/guardian.toml"
	defaultStateDir = "/var/lib/conntrack-guardian"
)

// flags are those that several commands share.
type flags struct {
	policy   string
	stateDir string
	json     bool
}

func newRoot() *cobra.Command {
	f := &flags{}
	root := &cobra.Command{
		Use:           "conntrack-guardian",
		Short:         "Keeps the connection-tracking table of a NAT gateway from filling up",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(f), checkCommand(f), planCommand(f), actionsCommand(f), rollbackCommand(f), versionCommand(f))
	return root
}

// usage has a command's argument errors end with the exit code for usage.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func (f *flags) policyFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.policy, "policy", "", "policy `FILE` (default "+defaultPolicy+", or the built-in policy if there is none)")
}

func (f *flags) stateFlag(cmd *cobra.Command) {
	dir := os.Getenv("STATE_DIRECTORY") // set by systemd from StateDirectory=
	if dir == "" {
		dir = defaultStateDir
	}
	cmd.Flags().StringVar(&f.stateDir, "state-dir", dir, "`DIR` of the ledger")
}

func (f *flags) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}
