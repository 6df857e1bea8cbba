package main

import (
	"context"
	"errors"
	"fmt"
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

// rollback has the daemon undo changes, or does it alone. Where a ledger is named, the
// daemon that holds it is asked and no other.
func (f *flags) rollback(cmd *cobra.Command, r control.Request, alone func() ([]ledger.Change, error)) ([]ledger.Change, error) {
	c, ctx := f.daemon(), cmd.Context()
	if !cmd.Flags().Changed("state-dir") {
		changes, err := rollbackBy(ctx, c, r)
		if errors.Is(err, control.ErrNotRunning) {
			return f.rollbackAlone(alone, err)
		}
		return changes, f.explained(err)
	}
	changes, err := alone()
	var held *ledger.HeldError
	if !errors.As(err, &held) {
		return changes, err
	}
	if s, no := c.Status(ctx); no != nil {
		return nil, f.unasked(err, no)
	} else if s.Daemon.PID != held.PID {
		return nil, f.unasked(err, fmt.Errorf("process %d listens there", s.Daemon.PID))
	}
	changes, err = rollbackBy(ctx, c, r)
	return changes, f.explained(err)
}

// rollbackAlone undoes changes because no daemon was found. There may be one elsewhere.
func (f *flags) rollbackAlone(alone func() ([]ledger.Change, error), found error) ([]ledger.Change, error) {
	changes, err := alone()
	if errors.As(err, new(*ledger.HeldError)) {
		err = f.unasked(err, found)
	}
	return changes, err
}

// unasked says why who holds the ledger was not asked to do the work.
func (f *flags) unasked(held, why error) error {
	return fmt.Errorf("%w; it was looked for on %s: %s (--socket names another socket)", held, f.socket, printable(why.Error()))
}

// rollbackBy has the daemon undo changes, and returns those that it brought further.
func rollbackBy(ctx context.Context, c *control.Client, r control.Request) ([]ledger.Change, error) {
	a, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	changes, err := changesOf(a)
	return changes, errors.Join(err, failures(a))
}
