package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A topWatch takes one census after another.
type topWatch struct {
	every   time.Duration // from the beginning of one to that of the next
	take    func(context.Context) (census.Report, error)
	show    func(now, before *census.Report) error // before is nil the first time
	fail    func(error)                            // a census failed and the watch goes on
	patient func(error) bool                       // even the first one may fail like that
}

// run goes on until the context ends, which is no error. The first census must
// succeed, or else something is wrong that waiting does not mend. At least half
// the interval is left between two, so that a census which takes longer does not
// keep a CPU busy for good.
func (w *topWatch) run(ctx context.Context) error {
	var before *census.Report
	for {
		began := time.Now()
		r, err := w.take(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if err := w.show(&r, before); err != nil {
				return err
			}
			before = &r
		case before == nil && !w.patient(err):
			return err
		default:
			w.fail(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(w.every-time.Since(began), w.every/2)):
		}
	}
}

// watch runs the command with --watch.
func (t *top) watch(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if terminal := cleverTerminal(cmd.OutOrStdout()); terminal != nil && !t.json {
		return t.watchOnScreen(ctx, stop, cmd, terminal)
	}
	errs := cmd.ErrOrStderr()
	line := program.NewLine(errs)
	w := topWatch{every: t.every, patient: transient}
	w.take = func(ctx context.Context) (census.Report, error) {
		defer line.End()
		return t.census(ctx, line.Show)
	}
	w.show = t.printer(cmd.OutOrStdout())
	w.fail = func(err error) { fmt.Fprintf(errs, "%s: %v\n", cmd.Root().Name(), err) }
	return w.run(ctx)
}

// progressText says how far a census is.
func progressText(read, table int) string {
	text := "read " + entriesText(read)
	if read <= table && table > 0 { // else entries came faster than they were read
		text += " of " + policy.Number(table) + " (" + policy.Percent(float64(read)/float64(table)) + ")"
	}
	return text
}

// transient reports whether the next census may well succeed.
func transient(err error) bool { return errors.Is(err, census.ErrResized) }

// printer prints one report after another, as JSON one a line.
func (t *top) printer(out io.Writer) func(now, before *census.Report) error {
	if t.json {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return func(now, _ *census.Report) error {
			if err := enc.Encode(now); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			return nil
		}
	}
	page := topPage{view: t.view, watch: true, rows: cmp.Or(t.limit, topRows)}
	return func(now, before *census.Report) error {
		page.now, page.before = now, before
		lines := page.lines()
		if before != nil {
			lines = append([]textLine{{}}, lines...)
		}
		return printLines(out, lines, false)
	}
}

// watchOnScreen draws each report over the last.
func (t *top) watchOnScreen(ctx context.Context, stop func(), cmd *cobra.Command, terminal *os.File) (err error) {
	s, err := openScreen(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), terminal, stop)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	w := topWatch{every: t.every, patient: transient}
	w.take = func(ctx context.Context) (census.Report, error) {
		return t.census(ctx, func(text string, _ bool) { s.say(text) })
	}
	w.show = func(now, before *census.Report) error {
		return s.draw(&topPage{view: t.view, now: now, before: before, watch: true, rows: t.limit})
	}
	w.fail = func(err error) { s.say(err.Error()) }
	return w.run(ctx)
}
