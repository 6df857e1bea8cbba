package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// A statusView is how the status is asked for and shown.
type statusView struct {
	*flags
	every time.Duration // between two, 0 for one alone
	check bool
	ask   func(context.Context) (*control.Status, error)
	clock func() time.Time
	last  *control.Status // the newest that there was
}

func statusCommand(f *flags) *cobra.Command {
	return statusCommandWith(&statusView{
		flags: f, clock: time.Now,
		ask: func(ctx context.Context) (*control.Status, error) { return f.daemon().Status(ctx) },
	})
}

func statusCommandWith(v *statusView) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--watch[=INTERVAL] | --check]",
		Short: "Show what is wrong and what is being done about it",
		Long: `Show what is wrong and what is being done about it: how full the table is and
was in the last hour, how fast it fills, why, what was done, what is advised,
and what the guardian keeps off because somebody else or an operator has changed
it.

--check prints one line for a monitoring system, with figures behind it, and
ends with
  0  OK        all is well
  1  WARNING   there is trouble, or it is hardly over; advice waits for
               approval; a change was given up to somebody else or rolled back,
               and the guardian keeps off; the policy file is rejected; nothing
               is recorded; a pause
  2  CRITICAL  connections are being lost; the daemon can't act or can't read
               the table; it is not running or gives no answer
Without --check the exit code is 3 if the daemon is not running.

--watch shows it again and again, every 2s or as given, until q is pressed.
NO_COLOR in the environment keeps the screen without colour. An interval is
written --watch=5s.`,
		Args: program.Args(cobra.NoArgs),
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case v.every < 0 || v.every > 0 && v.every < 100*time.Millisecond:
				return program.Misuse("--watch %s: it is 100ms or more", v.every)
			case v.check && (v.every > 0 || v.json):
				return program.Misuse("--check prints one line: without --watch and --json")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd) },
	}
	cmd.Flags().DurationVarP(&v.every, "watch", "w", 0, "show it every `INTERVAL`")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	cmd.Flags().BoolVar(&v.check, "check", false, "one line and an exit code for a monitoring system")
	v.socketFlag(cmd)
	program.JSONFlag(cmd, &v.json)
	return cmd
}

func (v *statusView) run(cmd *cobra.Command) error {
	if v.every > 0 {
		return v.explained(watchOn(&top{flags: v.flags, every: v.every}, cmd, v.subject()))
	}
	s, err := v.ask(cmd.Context())
	out := cmd.OutOrStdout()
	switch {
	case v.check:
		return v.checkLine(out, s, err)
	case err != nil:
		return v.explained(err)
	case v.json:
		return program.PrintJSON(out, s)
	}
	p := &statusPage{sight{status: s, now: v.clock()}, coloured()}
	return printLines(out, p.lines(allRows), cleverTerminal(out) != nil)
}

// allRows is more than any list has.
const allRows = 1 << 20

// coloured reports whether colour is welcome (no-color.org).
func coloured() bool { return os.Getenv("NO_COLOR") == "" }

// subject is what watchOn shows. After the first one a status that can't be had is shown
// as such, before the newest that there was.
func (v *statusView) subject() subject[sight] {
	return subject[sight]{
		take: func(ctx context.Context, _ func(string, bool)) (sight, error) {
			s, err := v.ask(ctx)
			if err != nil && v.last == nil {
				return sight{}, err
			}
			if err == nil {
				v.last = s
			}
			return sight{v.last, err, v.clock()}, nil
		},
		page:    func(now, _ *sight, _ bool) page { return &statusPage{*now, coloured()} },
		patient: func(error) bool { return false },
	}
}

// checkLine prints the line of a monitoring plugin and sets its exit code.
func (v *statusView) checkLine(out io.Writer, s *control.Status, err error) error {
	g, text := critical, ""
	if err == nil {
		g, text = judged(s, v.clock())
	} else {
		text = err.Error()
	}
	if _, err := fmt.Fprintf(out, "%s: %s\n", g, printable(strings.ReplaceAll(text, "\n", "; "))); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if v.exit = int(g); g == fine {
		return nil
	}
	return program.ErrReported
}

// judged is the grade of a status and what there is to say of it in one line.
func judged(s *control.Status, now time.Time) (grade, string) {
	list := findings(s, now)
	if len(list) == 0 {
		list = []finding{{fine, wellText(s)}}
	}
	var parts []string
	for _, f := range list {
		parts = append(parts, f.text)
	}
	if len(s.Active) > 0 {
		parts = append(parts, verbText(len(s.Active), "change", "changes")+" in force")
	}
	if !s.Table.Unlimited {
		parts = append(parts, percentText(s.Table.Utilization)+" of "+entriesText(s.Table.Max))
	}
	return worst(list), strings.ReplaceAll(strings.Join(parts, "; "), "|", "/") + " | " + perfdata(s)
}

// MarshalJSON writes the status, and beside it why there is no newer one.
func (s sight) MarshalJSON() ([]byte, error) {
	if s.failed == nil {
		return json.Marshal(s.status)
	}
	return json.Marshal(struct {
		Error string `json:"error"`
	}{s.failed.Error()})
}
