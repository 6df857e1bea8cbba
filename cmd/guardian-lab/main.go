// Command guardian-lab makes disposable NAT gateways in network namespaces,
// troubles them and shows what becomes of well-behaved clients. It needs root.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line. Signals end it through its context, so that
// everything is put back: also SIGHUP, and SIGPIPE when the output is piped into
// a program that ends early, which then is a failed write.
func execute(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	defer signal.Stop(pipe)

	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "guardian-lab: %v\nTry 'guardian-lab --help'.\n", err)
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "guardian-lab: %v: %v\n", context.Cause(ctx), err)
	case !errors.Is(err, errReported):
		fmt.Fprintf(stderr, "guardian-lab: %v\n", err)
	}
	return exitFailed
}

// usageError is a command line that can't be understood.
type usageError struct{ error }

// errReported ends a command with exit code 1 whose output already says why.
var errReported = errors.New("already reported")

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "guardian-lab",
		Short:         "Disposable NAT gateways, their traffic and their trouble",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(demoCommand(), fillCommand(), floodCommand(), cleanupCommand())
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

func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "print JSON")
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
