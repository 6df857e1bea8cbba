package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

func actionsCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "actions [ID]",
		Short: "Print what was done, why, and what came of it",
		Args:  usage(cobra.MatchAll(cobra.MaximumNArgs(1), ids)),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := ledger.Read(f.stateDir)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return showChange(cmd.OutOrStdout(), changes, args[0], f.json)
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), append([]ledger.Change{}, changes...))
			}
			return listChanges(cmd.OutOrStdout(), changes)
		},
	}
	f.stateFlag(cmd)
	f.jsonFlag(cmd)
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

func listChanges(w io.Writer, changes []ledger.Change) error {
	if len(changes) == 0 {
		fmt.Fprintln(w, "Nothing has been done.")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tMADE\tMEASURE\tCAUSE\tFROM\tTO\tSTATE\tEFFECT")
	for _, c := range changes {
		for _, e := range c.Edits {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, moment(c.Created), c.Measure, c.Cause, e.Before, e.After, c.State, c.Outcome)
		}
	}
	return t.Flush()
}

func showChange(w io.Writer, changes []ledger.Change, id string, asJSON bool) error {
	c, err := find(changes, id)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, c)
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
		row(strings.TrimPrefix(e.Key, "sysctl:"), e.Before+" -> "+e.After)
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
