// Package program is what the command lines of both programs have in common: how
// they end, how they print, and how they say that they were misused.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	Done    = 0
	Failed  = 1
	Misused = 2
)

// A UsageError is a command line that can't be understood.
type UsageError struct{ error }

// Misuse makes a UsageError.
func Misuse(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// ErrReported ends a command as failed whose output already says why.
var ErrReported = errors.New("already reported")

// Root makes a program's root command.
func Root(name, short string) *cobra.Command {
	root := &cobra.Command{
		Use:           name,
		Short:         short,
		Version:       Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          known,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{err} })
	return root
}

// known refuses what is no command, with the nearest that is.
func known(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return Misuse("unknown command %q; did you mean %q?", args[0], near[0])
	}
	return Misuse("unknown command %q", args[0])
}

// Args has a command's argument errors end as misuse.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return Misuse("%w; usage: %s", err, cmd.Use)
		}
		return nil
	}
}

// JSONFlag adds --json.
func JSONFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "print JSON")
}

// PrintJSON prints v, indented.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// Execute runs one command line and returns its exit code.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	out := &faithful{w: stdout}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("write the output: %w", out.err)
	}
	switch {
	case err == nil:
		return Done
	case errors.As(err, new(UsageError)):
		fmt.Fprintf(stderr, "%s: %v\nTry '%s --help'.\n", root.Name(), err, cmd.CommandPath())
		return Misused
	case !errors.Is(err, ErrReported):
		fmt.Fprintf(stderr, "%s: %s\n", root.Name(), strings.TrimSpace(err.Error()))
	}
	return Failed
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

// version is set by the linker in a release build.
var version string

// Version is the program's version and the Go version it was built with.
func Version() string {
	v := version
	if b, ok := debug.ReadBuildInfo(); v == "" && ok {
		v = b.Main.Version
	}
	if v == "" {
		v = "unknown"
	}
	return v + " (" + runtime.Version() + ")"
}
