package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func rollbackCommand(f *flags) *cobra.Command {
	var all, restrictions, force bool
	cmd := &cobra.Command{
		Use:   "rollback ID... | --restrictions | --all",
		Short: "Undo changes, by the daemon or without it",
		Long: `Undo changes that the ledger shows in force: the value before is written, if the
value in force is still the one the guardian wrote. A value that somebody else
has changed since is left alone. Undoing a change first undoes those made on top
of it.

The daemon does it where one listens on the control socket, and this command
itself otherwise: it needs no daemon and no policy. With --state-dir a daemon is
asked only if the ledger there is its own.

What is rolled back the guardian keeps off for yield_for (in [watch], 1h by
default): a limit of that source, a bypass of that flow, else the measure as a
whole. status lists it until then. An approval of the same advice, which status
lists as well while the trouble lasts, does it again all the same. A shorter
yield_for ends the time sooner, also for what has been rolled back before.

--restrictions undoes what takes something from the traffic, and keeps what was
added to the table's capacity: it gives shortened timeouts back, sets sources
free that are limited or dropped, and has flows that bypass tracking tracked
again. The daemon does so when it stops. Limits, drops and bypasses are leases:
without the daemon the kernel ends them by itself within the time that the
policy calls lease, and rollback then only records it.

nf_conntrack_max is not lowered below what the table holds and a margin, nor the
hash table below one bucket for each entry, because new connections would then
fail; --force does it all the same.`,
		Example: `  conntrack-guardian rollback 3 4             # ids as in status and actions
  conntrack-guardian rollback --restrictions  # let all traffic pass again
  conntrack-guardian rollback --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if given := []bool{all, restrictions, len(args) > 0}; count(given) != 1 {
				return program.Misuse("rollback takes the ids of changes, --restrictions or --all, one of the three")
			}
			return program.Args(ids)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := control.Request{Verb: control.Rollback, Changes: numbersOf(args), Restrictions: restrictions, All: all, Force: force}
			changes, err := f.rollback(cmd, r, func() ([]ledger.Change, error) {
				wanted := func(c ledger.Change) bool {
					return all || restrictions && restricts(c) || slices.Contains(args, strconv.Itoa(c.ID))
				}
				return rollback(f.stateDir, args, wanted, force)
			})
			if f.json {
				return errors.Join(err, program.PrintJSON(cmd.OutOrStdout(), append([]ledger.Change{}, changes...)))
			}
			if len(changes) == 0 && err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), nothingLeft(restrictions))
				return nil
			}
			printRollback(cmd.OutOrStdout(), changes)
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "undo every change in force")
	cmd.Flags().BoolVar(&restrictions, "restrictions", false, "undo what restricts the traffic (shortened timeouts, limits, drops, bypasses), keep capacity")
	cmd.Flags().BoolVar(&force, "force", false, "do it even where the table holds too much for it")
	f.stateFlag(cmd)
	f.socketFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// restricts reports whether a change takes something from the traffic.
func restricts(c ledger.Change) bool {
	switch policy.Measure(c.Measure) {
	case policy.ShortenTimeouts, policy.LimitSource, policy.Bypass:
		return true
	}
	return false
}

// count is how many are true.
func count(of []bool) (n int) {
	for _, yes := range of {
		if yes {
			n++
		}
	}
	return n
}

// rollback undoes the changes wanted, newest first, and returns those that it brought
// further. All that are named must be in force.
func rollback(stateDir string, args []string, wanted func(ledger.Change) bool, force bool) ([]ledger.Change, error) {
	known, err := readLedger(stateDir)
	if err != nil {
		return nil, err
	}
	if missing := named(known, args); missing != nil || len(known) == 0 {
		return nil, missing // nothing to undo, and nothing to lock
	}
	l, executor, err := openLedger(stateDir, actions.KernelLeases())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	undo := executor.Undo
	if force {
		undo = executor.UndoForced
	}
	moved, err := executor.Recover()
	errs := []error{err}
	for _, c := range slices.Backward(slices.Clone(executor.Open())) {
		if !wanted(c) {
			continue
		}
		changes, err := undo(c.ID, "rolled back by hand")
		if errors.Is(err, actions.ErrNotOpen) { // undone with one below it
			continue
		}
		moved, errs = append(moved, changes...), append(errs, err)
	}
	return moved, errors.Join(errs...)
}

// named checks that each id is that of a change in force.
func named(known []ledger.Change, ids []string) error {
	var errs []error
	for _, id := range ids {
		c, err := find(known, id)
		if err == nil && !c.State.Open() {
			err = fmt.Errorf("change %s is not in force: it is %s", id, c.State)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// nothingLeft says that there was nothing to undo. Capacity may be in force where
// only restrictions were to go.
func nothingLeft(restrictions bool) string {
	if restrictions {
		return "No restriction of the guardian's is in force."
	}
	return "Nothing of the guardian's is in force."
}

func printRollback(w io.Writer, changes []ledger.Change) {
	for _, c := range changes {
		for _, e := range c.Edits {
			fmt.Fprintf(w, "change %d %s: %s", c.ID, stateText(c, e), valueName(e))
			if !slices.Contains(c.Yielded, e.Key) {
				fmt.Fprintf(w, " %s → %s", valueText(e, e.After), valueText(e, e.Before))
			}
			fmt.Fprintln(w)
		}
		if c.Note != "" && (c.State != ledger.Undone || c.Note == actions.LapsedNote) {
			fmt.Fprintf(w, "  %s\n", c.Note)
		}
	}
}
