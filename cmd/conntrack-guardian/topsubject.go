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

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

// A subject is what top reports on.
type subject[R any] struct {
	// take makes a report, and shows how far it is if that takes long.
	take func(ctx context.Context, show func(text string, urgent bool)) (R, error)
	// page lays a report out; watch says that it is one of several, and before is the
	// one before it, if there is one.
	page    func(now, before *R, watch bool) page
	patient func(error) bool // the first report of a watch may fail like that
}

// reportOn prints one report on a subject, or with --watch one after another.
func reportOn[R any](t *top, cmd *cobra.Command, of subject[R]) error {
	if t.every > 0 {
		return watchOn(t, cmd, of)
	}
	line := program.NewLine(cmd.ErrOrStderr())
	r, err := of.take(cmd.Context(), line.Show)
	line.End()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if t.json {
		return program.PrintJSON(out, r)
	}
	p, rows := of.page(&r, nil, false), cmp.Or(t.limit, topRows)
	terminal := cleverTerminal(out)
	if t.limit == 0 && terminal != nil {
		_, height := sizeOf(terminal)
		rows = min(topRows, room(p, height-1)) // the prompt takes a line
	}
	return printLines(out, p.lines(rows), terminal != nil)
}

// watchOn goes on until a signal or a key ends it.
func watchOn[R any](t *top, cmd *cobra.Command, of subject[R]) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if terminal := cleverTerminal(cmd.OutOrStdout()); terminal != nil && !t.json {
		return watchOnScreen(ctx, stop, t, cmd, terminal, of)
	}
	errs := cmd.ErrOrStderr()
	line := program.NewLine(errs)
	w := topWatch[R]{every: t.every, patient: of.patient, show: printer(t, cmd.OutOrStdout(), of)}
	w.take = func(ctx context.Context) (R, error) {
		defer line.End()
		return of.take(ctx, line.Show)
	}
	w.fail = func(err error) { fmt.Fprintf(errs, "%s: %v\n", cmd.Root().Name(), err) }
	return w.run(ctx)
}

// printer prints one report after another, as JSON one a line.
func printer[R any](t *top, out io.Writer, of subject[R]) func(now, before *R) error {
	if t.json {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return func(now, _ *R) error {
			if err := enc.Encode(now); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			return nil
		}
	}
	return func(now, before *R) error {
		lines := of.page(now, before, true).lines(cmp.Or(t.limit, topRows))
		if before != nil {
			lines = append([]textLine{{}}, lines...)
		}
		return printLines(out, lines, false)
	}
}

// watchOnScreen draws each report over the last.
func watchOnScreen[R any](ctx context.Context, stop func(), t *top, cmd *cobra.Command, terminal *os.File, of subject[R]) (err error) {
	s, err := openScreen(ctx, cmd.InOrStdin(), cmd.OutOrStdout(), terminal, stop)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	w := topWatch[R]{every: t.every, patient: of.patient}
	w.take = func(ctx context.Context) (R, error) {
		return of.take(ctx, func(text string, _ bool) { s.say(text) })
	}
	w.show = func(now, before *R) error { return s.draw(of.page(now, before, true), t.limit) }
	w.fail = func(err error) { s.say(err.Error()) }
	return w.run(ctx)
}
