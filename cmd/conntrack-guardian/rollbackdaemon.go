package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// numbersOf are the numbers that ids has let through, each once.
func numbersOf(args []string) (numbers []int) {
	for _, a := range args {
		if n, err := strconv.Atoi(a); err == nil && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// rollbackByDaemon has the daemon undo changes, and returns those that it brought further.
// It is not asked where none runs, or another than that of the ledger which was named.
func (f *flags) rollbackByDaemon(cmd *cobra.Command, r control.Request) (changes []ledger.Change, asked bool, err error) {
	c := f.daemon()
	if cmd.Flags().Changed("state-dir") && !f.keepsLedger(cmd.Context(), c) {
		return nil, false, nil
	}
	a, err := c.Do(cmd.Context(), r)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return nil, false, nil
	case err != nil:
		return nil, true, f.explained(err)
	}
	changes, err = changesOf(a)
	return changes, true, errors.Join(err, failures(a))
}

// keepsLedger reports whether the daemon's ledger is that of the state directory. One that
// gives no answer keeps the ledger locked if it is.
func (f *flags) keepsLedger(ctx context.Context, c *control.Client) bool {
	s, err := c.Status(ctx)
	if err != nil {
		return false
	}
	theirs, err := os.Stat(s.Daemon.StateDir)
	if err != nil {
		return false
	}
	ours, err := os.Stat(f.stateDir)
	return err == nil && os.SameFile(ours, theirs)
}
