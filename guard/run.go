package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Run ticks until ctx ends. A value on reload has the policy read again by load.
// At the end capacity stays: such changes are left to the next start, which undoes
// them when their time comes. What restricts the traffic is lifted.
func (g *Guard) Run(ctx context.Context, n *Notifier, reload <-chan os.Signal, load func() (config.File, error)) error {
	g.Start()
	g.reportStarted()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			n.stopping()
			g.liftAll()
			g.dismiss()
			g.keepBaselineNow()
			g.reportStopped()
			return nil
		case <-reload:
			n.reloading()
			g.reload(load)
			n.reloaded()
		case <-timer.C:
			pause, complete := g.Tick()
			n.ticked(complete, g.Status, g.Clock())
			timer.Reset(n.within(pause))
		}
	}
}

// reload puts a new policy in force between two ticks, or keeps the old one.
func (g *Guard) reload(load func() (config.File, error)) {
	file, err := load()
	if err == nil && file.Namespace != g.Namespace {
		err = fmt.Errorf("%s: namespace: %q is guarded and %q is wanted: restart to change it", g.Source(), g.Namespace, file.Namespace)
	}
	if err != nil {
		g.reportRejected(err)
		return
	}
	// From here nothing can fail.
	g.Config, g.rejected = file.Policy, false
	g.bound()
	g.renew() // what the policy does not have any more is over before it decides
	g.haltWalk(errReloaded)
	g.state.Reconsider()
	g.log(journald.LevelNotice, eventReloaded, fmt.Sprintf("policy reloaded from %s, mode %s", g.Source(), g.Config.Mode), slog.String("POLICY_HASH", file.Hash))
	g.reportUnwritable()
}

// reportRejected writes one line for each problem of a policy file.
func (g *Guard) reportRejected(err error) {
	g.rejected = true
	var problems config.Problems
	if !errors.As(err, &problems) {
		g.log(slog.LevelError, eventRejected, "policy rejected, the last good one stays in force: "+err.Error(), slog.String("ERROR", err.Error()))
		return
	}
	for _, p := range problems {
		g.log(slog.LevelError, eventRejected, "policy rejected, the last good one stays in force: "+p.String(), slog.String("ERROR", p.String()))
	}
}

func (g *Guard) reportStarted() {
	where := "this namespace"
	if g.Namespace != "" {
		where = g.Namespace
	}
	g.log(slog.LevelInfo, eventStarted, fmt.Sprintf("guarding %s, mode %s, policy from %s", where, g.Config.Mode, g.Source()))
	g.reportUnwritable()
}

// reportUnwritable says before the need what would otherwise be learnt in it.
func (g *Guard) reportUnwritable() {
	if g.Config.Mode < policy.Act {
		return
	}
	// Without the module there is nothing to write yet: it is asked again with the
	// first reading.
	if err := g.Writable(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log(slog.LevelError, eventUnable, fmt.Sprintf("mode act, but nothing can be done: %v (needs CAP_NET_ADMIN, in the initial network namespace)", err),
			slog.String("ERROR", err.Error()))
	}
}

func (g *Guard) reportStopped() {
	message := "stopping, nothing of ours is in force"
	if n := g.active() - len(g.restrictions()); n > 0 {
		message = fmt.Sprintf("stopping, capacity stays: %s in force until the next start takes it back, or rollback does", changesText(n))
	}
	g.log(slog.LevelInfo, eventStopped, message)
	for _, c := range g.restrictions() {
		stays := shortened(c) + " stay shortened until the next start, or rollback --restrictions, takes them back"
		if isLease(c) {
			stays = "it ends by itself within its lease"
		}
		g.log(slog.LevelError, eventFailed, fmt.Sprintf("change %d could not be taken back: %s", c.ID, stays), ofChange(c)...)
	}
}
