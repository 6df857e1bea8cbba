package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Inputs are what the loop hears besides its own clock. A nil channel is never heard.
type Inputs struct {
	Hangup   <-chan os.Signal    // the policy file is to be read now
	Policies <-chan watch.Loaded // it has changed
}

// Run ticks until ctx ends. At the end capacity stays: such changes are left to the next
// start, which undoes them when their time comes. What restricts the traffic is lifted.
func (g *Guard) Run(ctx context.Context, n *Notifier, in Inputs) error {
	g.Start()
	g.reportStarted()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			g.finish(n)
			return nil
		case <-in.Hangup:
			n.reloading()
			g.reread(func(error) { n.reloaded() })
		case takeIn := <-g.reload.back:
			g.reload.back = nil
			takeIn()
		case l := <-in.Policies:
			_ = g.take(l) // it was reported
		case do := <-g.Desk.heard():
			do(g)
		case <-timer.C:
			g.soon = false
			pause, complete := g.Tick()
			n.ticked(complete, g.Status, g.Clock())
			timer.Reset(n.within(pause))
		}
		if g.soon {
			timer.Reset(max(policy.MinPause-(g.Clock()-g.ticked), 0))
		}
	}
}

// finish ends the work of the loop.
func (g *Guard) finish(n *Notifier) {
	n.stopping()
	g.refuseAll(errStopping.Error())
	g.reload.telling = append(g.reload.telling, g.reload.waiting...)
	g.reload.tell(errStopping)
	g.liftAll()
	g.resumeLater() // there is nothing left to wait for
	g.dismiss()
	g.awaitSuspects()
	g.keepBaselineNow()
	g.reportStopped()
}

func (g *Guard) reportStarted() {
	where := "this namespace"
	if g.Namespace != "" {
		where = g.Namespace
	}
	message := fmt.Sprintf("guarding %s, mode %s, policy from %s", where, g.Config.Mode, g.Source())
	if why := g.pausing(g.Clock()); why != "" {
		message += ", " + why
	}
	g.log(slog.LevelInfo, eventStarted, message)
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
