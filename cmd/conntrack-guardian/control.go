package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// exitNotRunning is the exit code of a command that needs the daemon and finds none, as
// LSB and systemctl status have it.
const exitNotRunning = 3

func (f *flags) socketFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.socket, "socket", control.DefaultPath(), "control socket at `PATH`")
	_ = cmd.MarkFlagFilename("socket", "sock") // fails only for a flag that is not there
}

func (f *flags) daemon() *control.Client { return control.Dial(f.socket) }

// ask has the daemon do something and prints what came of it.
func (f *flags) ask(cmd *cobra.Command, r control.Request) error {
	a, err := f.daemon().Do(cmd.Context(), r)
	if err != nil {
		return f.explained(err)
	}
	out := cmd.OutOrStdout()
	if f.json {
		return errors.Join(program.PrintJSON(out, a), failures(a))
	}
	for _, line := range append([]string{a.Message}, a.Lines...) {
		fmt.Fprintln(out, printable(line))
	}
	return failures(a)
}

// explained is an error of the daemon's for people, with the exit code that it has.
func (f *flags) explained(err error) error {
	var r *control.Refusal
	switch {
	case errors.Is(err, control.ErrNotRunning):
		f.exit = exitNotRunning
		return fmt.Errorf("%w (run starts one; --socket names another socket)", err)
	case errors.As(err, &r):
		return errors.New(printable(strings.Join(append([]string{r.Message}, r.Lines...), "\n")))
	}
	return err
}

// failures are what could not be done although the rest was.
func failures(a *control.Answer) error {
	var errs []error
	for _, text := range a.Failed {
		errs = append(errs, errors.New(printable(text)))
	}
	return errors.Join(errs...)
}

// changesOf are the changes that an answer is about.
func changesOf(a *control.Answer) (changes []ledger.Change, err error) {
	if len(a.Changes) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(a.Changes, &changes); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return changes, nil
}

// printable replaces what would command a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return '?'
		}
		return r
	}, text)
}
