package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
)

func runCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon: watch the table and, as far as the policy approves, act.

It takes up a policy file that has changed by itself, and on SIGHUP; a file with
mistakes is refused and the last good policy stays in force. At the start it
ends the command instead. Operators command it by its control socket: see
status, approve, rollback, reload, pause and resume. SIGTERM stops it: the
capacity that it added stays, shortened timeouts and leases end.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(journald.New(cmd.ErrOrStderr(), slog.LevelInfo))
			return run(cmd.Context(), f, log)
		},
	}
	f.policyFlag(cmd)
	f.stateFlag(cmd)
	f.socketFlag(cmd)
	return cmd
}

func run(ctx context.Context, f *flags, log *slog.Logger) error {
	policy, err := f.loadPolicy()
	if err != nil {
		return err
	}
	sensor, err := sense.Open(policy.Namespace)
	if err != nil {
		return fmt.Errorf("%w (key namespace, policy from %s)", err, f.source(policy))
	}
	defer sensor.Close()
	if err := os.MkdirAll(f.stateDir, 0o750); err != nil {
		return fmt.Errorf("make the state directory: %w (--state-dir names another)", err)
	}
	g := &guard.Guard{
		Sensor: sensor, Log: log, Clock: boot.Now, Version: program.Version(), Namespace: policy.Namespace, Config: policy.Policy, Hash: policy.Hash,
		Writable: writable, Scout: sense.NewScout(policy.Namespace), Walk: entries.Walk, Prune: deleteUnreplied, Loosen: entries.Loosen,
		Allow: sense.NewAllowlist(policy.Namespace), StateDir: f.stateDir,
	}
	if path := policy.Namespace; path != "" {
		name := netns.NewPath(path)
		g.Named = func() error {
			_, err := name.ID()
			return err
		}
	}
	leases := actions.KernelLeases()
	defer leases.Close() // with liftAll nothing is left of them but on an early return, which has made none
	g.Leases = leases
	var damaged *ledger.DamagedError
	switch l, executor, err := openLedger(f.stateDir, leases); {
	case errors.As(err, &damaged): // it still watches and advises
		g.NoLedger = err
	case err != nil:
		return err
	default:
		defer l.Close()
		g.Ledger, g.Actions = l, executor
	}
	op, err := f.operate(g, policy, log)
	if err != nil {
		return err
	}
	defer op.close()
	notifier, err := guard.NewNotifier()
	if err != nil {
		return fmt.Errorf("read the service manager's watchdog settings: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, unix.SIGHUP)
	return g.Run(ctx, notifier, guard.Inputs{Hangup: hangup, Policies: op.watcher.C()})
}
