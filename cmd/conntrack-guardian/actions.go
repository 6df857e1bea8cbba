package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

func actionsCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "actions [ID]",
		Short: "Print what was done, why, and what came of it",
		Long: `Print the ledger: what was done, why, and what came of it.

Of a lease in force (a source that is limited or dropped, a flow that bypasses
tracking) it says what is left of it if nobody renews it, and how many packets
it has refused. That is read from the kernel, for which CAP_NET_ADMIN is needed;
without it the list is printed all the same. A lease that the kernel has ended
and the ledger has in force is over.

--json prints the records of the ledger; of a lease in force also left, in
seconds, and refused, in packets.`,
		Args: program.Args(cobra.MatchAll(cobra.MaximumNArgs(1), ids)),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := readLedger(f.stateDir)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				c, err := find(changes, args[0])
				if err != nil {
					return err
				}
				changes = []ledger.Change{c}
			}
			left := kernelRemains(changes, cmd.ErrOrStderr())
			switch out := cmd.OutOrStdout(); {
			case len(args) == 1 && f.json:
				return program.PrintJSON(out, told(changes[0], left))
			case len(args) == 1:
				return showChange(out, changes[0], left)
			case f.json:
				return program.PrintJSON(out, tellAll(changes, left))
			default:
				return listChanges(out, changes, left)
			}
		},
	}
	f.stateFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// ids requires arguments that can be ids of changes.
func ids(_ *cobra.Command, args []string) error {
	for _, a := range args {
		if n, err := strconv.Atoi(a); err != nil || n < 1 || strconv.Itoa(n) != a {
			return fmt.Errorf("%q is not the id of a change, a number from 1", a)
		}
	}
	return nil
}

// find returns the change with an id that ids has let through.
func find(changes []ledger.Change, id string) (ledger.Change, error) {
	for _, c := range changes {
		if strconv.Itoa(c.ID) == id {
			return c, nil
		}
	}
	return ledger.Change{}, fmt.Errorf("the ledger has no change %s", id)
}

// readLedger reads the changes of a state directory. A directory without a ledger
// is most likely the wrong one.
func readLedger(dir string) ([]ledger.Change, error) {
	file := filepath.Join(dir, ledger.FileName)
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("find the ledger: %w (the daemon makes it; --state-dir names its directory)", err)
	}
	return ledger.Read(dir)
}

func listChanges(w io.Writer, changes []ledger.Change, left map[int]remains) error {
	if len(changes) == 0 {
		fmt.Fprintln(w, "Nothing has been done.")
		return nil
	}
	var columns []column
	for _, head := range []string{"ID", "MADE", "MEASURE", "CAUSE", "VALUE", "FROM", "TO", "STATE", "EFFECT", "LEASE"} {
		columns = append(columns, column{head: head})
	}
	where := places(changes)
	var rows [][]string
	for _, c := range changes {
		for _, e := range c.Edits {
			rows = append(rows, []string{
				strconv.Itoa(c.ID), moment(c.Created), c.Measure, c.Cause,
				valueName(e) + where[namespaceOf(e)], valueText(e, e.Before), valueText(e, e.After), stateText(c, e), cmp.Or(c.Outcome, "-"),
				leaseText(c, left),
			})
		}
	}
	return printLines(w, layOut(columns, rows), false)
}

// leaseText says what is left of a change's lease, if that is known.
func leaseText(c ledger.Change, left map[int]remains) string {
	r, ok := left[c.ID]
	if !ok {
		return ""
	}
	l, _ := leaseOf(c)
	return remainsText(l.Kind, r.left, r.refused)
}

// places tell timeouts and leases of one network namespace from those of another: what
// to put behind a name, by path. Where all are of one namespace it is nothing.
func places(changes []ledger.Change) map[string]string {
	seen, bases := map[string]string{}, map[string]int{}
	for _, c := range changes {
		for _, e := range c.Edits {
			if !shared(e) {
				seen[namespaceOf(e)] = ""
			}
		}
	}
	if len(seen) < 2 {
		return nil
	}
	for path := range seen {
		bases[filepath.Base(path)]++
	}
	for path := range seen {
		switch base := filepath.Base(path); {
		case path == "": // our own
		case bases[base] > 1: // as of /proc/PID/ns/net
			seen[path] = "@" + path
		default:
			seen[path] = "@" + base
		}
	}
	return seen
}

// shared reports whether a value is one of all namespaces.
func shared(e ledger.Edit) bool {
	_, _, timeout := actions.ParseTimeoutKey(e.Key)
	_, lease := actions.ParseLease(e)
	return !timeout && !lease
}

// namespaceOf is the path of the namespace that a timeout or a lease is of, empty for
// our own and for values that all namespaces share.
func namespaceOf(e ledger.Edit) string {
	if l, ok := actions.ParseLease(e); ok {
		return l.Namespace
	}
	namespace, _, _ := actions.ParseTimeoutKey(e.Key)
	return namespace
}

// stateText is the state of a change, or of one value of it that somebody else has
// taken.
func stateText(c ledger.Change, e ledger.Edit) string {
	if slices.Contains(c.Yielded, e.Key) {
		return string(ledger.Yielded)
	}
	return string(c.State)
}

func showChange(w io.Writer, c ledger.Change, left map[int]remains) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("change", strconv.Itoa(c.ID))
	row("measure", c.Measure)
	for _, e := range c.Edits {
		text := valueText(e, e.Before) + " → " + valueText(e, e.After)
		if slices.Contains(c.Yielded, e.Key) {
			text += ", somebody else's by now"
		}
		row(valueName(e), text)
	}
	row("lease", leaseText(c, left))
	if c.Walk != nil {
		row("entries", entriesOf(c))
	}
	row("cause", c.Cause)
	row("reason", c.Reason)
	row("approved by", c.ApprovedBy)
	row("episode", c.Episode)
	row("namespace", c.Namespace)
	row("made", moment(c.Created))
	row("state", fmt.Sprintf("%s since %s", c.State, moment(c.Changed)))
	row("effect", c.Outcome)
	row("note", c.Note)
	row("boot", c.Boot)
	return t.Flush()
}

// moment writes a time as the operator's clock shows it.
func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
