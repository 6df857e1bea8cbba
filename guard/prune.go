package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Prune deletes the entries of a source that have seen no reply, in the table of a
// namespace, and tells how many there were.
type Prune func(ctx context.Context, namespace string, source netip.Prefix) (deleted int, err error)

type pruned struct {
	deleted int
	took    time.Duration
	err     error
}

// unreplied is what a deletion counts by, as walks do by the names of timeouts.
const unreplied = "unreplied"

// prune sends somebody to delete, with the intent on the disk first. Another one has to
// wait: the policy asks again.
func (g *Guard) prune(d policy.Decision) error {
	if g.Prune == nil || g.pruning.away() {
		return nil
	}
	if _, err := g.Actions.Walking(d.Change, false); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(g.living)
	g.stopPrune = stop
	namespace, source := g.Namespace, d.Terms.Source
	g.pruning.send(func() (takeIn func()) {
		var p pruned
		begun := time.Now()
		p.deleted, p.err = g.Prune(ctx, namespace, source)
		p.took = time.Since(begun)
		stop(nil)
		return func() { g.endPrune(d, p) }
	})
	return nil
}

// awaitPrune has the deletion under way end, and records how far it came.
func (g *Guard) awaitPrune() {
	if !g.pruning.away() {
		return
	}
	g.leave()
	if takeIn, back := g.pruning.await(lastWait); back {
		takeIn()
	}
}

// endPrune records and reports. One that failed counts as done: the next step of the
// escalation does not wait for it. One that was halted is begun again when it may be.
func (g *Guard) endPrune(d policy.Decision, p pruned) {
	w := ledger.Walk{Done: !errors.Is(p.err, errPaused), Took: p.took.Seconds(), Classes: []ledger.Count{{Class: unreplied, Deleted: p.deleted}}}
	if p.err != nil {
		w.Note = p.err.Error()
	}
	_, err := g.Actions.Walked(d.Change, w)
	if err == nil {
		err = p.err
	}
	if errors.Is(err, errStopping) || errors.Is(err, errPaused) {
		return
	}
	if err != nil {
		g.reportFailed(d, d.Change, err)
		return
	}
	g.log(journald.LevelNotice, eventPruned, fmt.Sprintf("change %d: %s entries of %s without a reply deleted in %s: %s",
		d.Change, policy.Number(p.deleted), about(d), policy.Span(p.took), d.Reason),
		append(g.ofDecision(d), slog.Int("CHANGE_ID", d.Change), slog.Int("DELETED", p.deleted))...)
}
