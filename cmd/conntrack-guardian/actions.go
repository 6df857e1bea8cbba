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
		Args:  program.Args(cobra.MatchAll(cobra.MaximumNArgs(1), ids)),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := readLedger(f.stateDir)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return showChange(cmd.OutOrStdout(), changes, args[0], f.json)
			}
			if f.json {
				return program.PrintJSON(cmd.OutOrStdout(), append([]ledger.Change{}, changes...))
			}
			return listChanges(cmd.OutOrStdout(), changes)
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

func listChanges(w io.Writer, changes []ledger.Change) error {
	if len(changes) == 0 {
		fmt.Fprintln(w, "Nothing has been done.")
		return nil
	}
	where := places(changes)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tMADE\tMEASURE\tCAUSE\tVALUE\tFROM\tTO\tSTATE\tEFFECT")
	for _, c := range changes {
		for _, e := range c.Edits {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, moment(c.Created), c.Measure, c.Cause,
				valueName(e.Key)+where[namespaceOf(e.Key)], valueText(e.Key, e.Before), valueText(e.Key, e.After), stateText(c, e), cmp.Or(c.Outcome, "-"))
		}
	}
	return t.Flush()
}

// places tell timeouts of one network namespace from those of another: what to put
// behind a name, by path. Where all are of one namespace it is nothing.
func places(changes []ledger.Change) map[string]string {
	seen, bases := map[string]string{}, map[string]int{}
	for _, c := range changes {
		for _, e := range c.Edits {
			if _, _, ok := actions.ParseTimeoutKey(e.Key); ok {
				seen[namespaceOf(e.Key)] = ""
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

// namespaceOf is the path of the namespace that a timeout is of, empty for our own
// and for values that all namespaces share.
func namespaceOf(key string) string {
	namespace, _, _ := actions.ParseTimeoutKey(key)
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

func showChange(w io.Writer, changes []ledger.Change, id string, asJSON bool) error {
	c, err := find(changes, id)
	if err != nil {
		return err
	}
	if asJSON {
		return program.PrintJSON(w, c)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("change", id)
	row("measure", c.Measure)
	for _, e := range c.Edits {
		text := valueText(e.Key, e.Before) + " → " + valueText(e.Key, e.After)
		if slices.Contains(c.Yielded, e.Key) {
			text += ", somebody else's by now"
		}
		row(valueName(e.Key), text)
	}
	if c.Walk != nil {
		row("entries", walkText(c.Walk))
	}
	row("cause", c.Cause)
	row("reason", c.Reason)
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
