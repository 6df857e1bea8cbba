package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The conditions' names.
const (
	noCensus       = "none"
	sampleCensuses = "sample"
	fullCensuses   = "full"
)

var conditions = []string{noCensus, sampleCensuses, fullCensuses}

// guardedPolicy has trouble from the first thousandth of the table on, so that a
// census is always wanted, and expects a growth that has the table read at the
// shortest pause.
func guardedPolicy(condition string) policy.Config {
	c := policy.Default()
	c.Watch.High, c.Watch.Low = 0.001, 0.0005
	c.Watch.WorstFillRate = 1e9
	c.Census.Every, c.Census.CountNew = time.Second, policy.CountAlways
	if condition == fullCensuses {
		c.Census.Every, c.Census.CountNew = 0, policy.CountNever
		c.Census.Sample = 0 // all
	}
	return c
}

type guardFlags struct{ condition, namespace, stateDir string }

// benchGuardCommand is the guard of `bench forwarding`, in a process of its own as
// the daemon is. It ends with its standard input, so it does not outlive the
// benchmark whatever becomes of that.
func benchGuardCommand() *cobra.Command {
	var f guardFlags
	cmd := &cobra.Command{
		Use:       "guard CONDITION",
		Short:     "Guard a namespace until standard input ends, and print when the loop ticked",
		Hidden:    true,
		ValidArgs: conditions,
		Args:      program.Args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.condition = args[0]
			ctx, cancel := context.WithCancel(cmd.Context())
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				cancel()
			}()
			r, err := watchOver(ctx, f)
			if err != nil {
				return err
			}
			return program.PrintJSON(cmd.OutOrStdout(), r)
		},
	}
	cmd.Flags().StringVar(&f.namespace, "namespace", "", "`PATH` of the network namespace to guard")
	cmd.Flags().StringVar(&f.stateDir, "state-dir", "", "`DIR` of the guard's state")
	return cmd
}

// watchOver runs the daemon's loop until ctx ends and returns what it saw of it.
func watchOver(ctx context.Context, f guardFlags) (r watchReport, err error) {
	id, err := boot.ID()
	if err != nil {
		return r, err
	}
	l, err := ledger.Open(f.stateDir, id)
	if err != nil {
		return r, err
	}
	defer l.Close() // in mode advise nothing is written
	sensor, err := sense.Open(f.namespace)
	if err != nil {
		return r, err
	}
	defer sensor.Close() // only read
	notifier, err := guard.NewNotifier()
	if err != nil {
		return r, err
	}
	c := guardedPolicy(f.condition)
	ticks := &watchedSensor{Sensor: sensor, config: &c}
	looks := &watchedScout{Scout: sense.NewScout(f.namespace)}
	g := &guard.Guard{
		Sensor: ticks, Actions: actions.New(l, nil), Ledger: l, Log: slog.New(slog.DiscardHandler), Clock: boot.Now,
		Namespace: f.namespace, Config: c, Source: func() string { return "the benchmark" }, StateDir: f.stateDir,
	}
	if f.condition != noCensus {
		g.Scout = looks
	}
	if err := g.Run(ctx, notifier, guard.Inputs{}); err != nil {
		return r, err
	}
	return watchReport{append(ticks.marks, mark()), looks.marks}, firstOf(ticks.err, looks.err)
}

func firstOf(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// A watchedSensor notes every tick: each begins with a reading.
type watchedSensor struct {
	guard.Sensor
	config *policy.Config
	marks  []tickMark
	err    error // the first
}

func (w *watchedSensor) Read(into *policy.Snapshot) error {
	m := mark()
	err := w.Sensor.Read(into)
	m.Pause = policy.Pause(into, w.config)
	w.marks, w.err = append(w.marks, m), firstOf(w.err, err)
	return err
}

// mark is a tick at this moment.
func mark() tickMark {
	return tickMark{At: boot.Now(), CPU: usedCPU()}
}

// A watchedScout notes every census that came to its end. The loop sends one at a
// time and waits for it at its own end.
type watchedScout struct {
	guard.Scout
	marks []lookMark
	err   error // the first
}

func (w *watchedScout) Look(ctx context.Context, c policy.Config) (sense.Sight, error) {
	s, err := w.Scout.Look(ctx, c)
	switch {
	case ctx.Err() != nil: // called off
	case firstOf(err, s.Uncounted) != nil:
		w.err = firstOf(w.err, err, s.Uncounted)
	default:
		w.marks = append(w.marks, lookMark{At: boot.Now(), Read: s.Census.Read})
	}
	return s, err
}
