package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Loosen has the entries of a TCP flow that bypasses tracking, in the table of a
// namespace, take their connections up again when it is tracked again, and tells how many
// there are.
type Loosen func(ctx context.Context, namespace string, f nft.Flow) (loosened int, err error)

// loosening is what the loop knows of the flows that are to be loosened.
type loosening struct {
	errand
	due []bypassed // the first of them is under way
}

type bypassed struct {
	decision policy.Decision
	change   int
	flow     nft.Flow
}

type loosened struct {
	n   int
	err error
}

// loosen sees to the connections that a flow had before its bypass came into force: they
// would hang from its end on. One flow comes after another: each takes a look at the whole
// table.
func (g *Guard) loosen(d policy.Decision, c ledger.Change) {
	if g.Loosen == nil || d.Measure != policy.Bypass {
		return
	}
	flows := g.Config.Bypass
	i := slices.IndexFunc(flows, func(f policy.Flow) bool { return f.Name == d.Terms.Flow && f.Mark() == d.Terms.Mark })
	if i < 0 || flows[i].Proto != unix.IPPROTO_TCP {
		return
	}
	g.loosening.due = append(g.loosening.due, bypassed{d, c.ID, kernelFlow(flows[i])})
	g.loosenNext()
}

// loosenNext sends somebody for the next flow, if nobody is away.
func (g *Guard) loosenNext() {
	if g.loosening.away() || len(g.loosening.due) == 0 {
		return
	}
	ctx, namespace, flow := g.living, g.Namespace, g.loosening.due[0].flow
	g.loosening.send(func() (takeIn func()) {
		n, err := g.Loosen(ctx, namespace, flow)
		return func() { g.endLoosen(loosened{n, err}) }
	})
}

// errUnloosened is why what was not loosened in time is given up.
var errUnloosened = errors.New("it does not come to its end")

// awaitLoosen lets it come to its end before the flows are tracked again: at once, when
// the daemon stops. What takes too long is told to come back.
func (g *Guard) awaitLoosen() {
	if g.loosenedInTime() {
		return
	}
	g.leave()
	if !g.loosenedInTime() {
		g.loosening.due = g.loosening.due[:1]
		g.endLoosen(loosened{err: errUnloosened})
	}
}

// loosenedInTime waits for all flows that are due, but not for long.
func (g *Guard) loosenedInTime() bool {
	for late := time.Now().Add(lastWait); g.loosening.away(); {
		takeIn, back := g.loosening.await(time.Until(late))
		if !back {
			return false
		}
		takeIn()
	}
	return true
}

// endLoosen reports, and goes on to the next flow.
func (g *Guard) endLoosen(l loosened) {
	of := g.loosening.due[0]
	g.loosening.due = g.loosening.due[1:]
	name := of.decision.Terms.Flow
	attrs := append(g.ofDecision(of.decision), slog.Int("CHANGE_ID", of.change), slog.Int("LOOSENED", l.n))
	switch {
	case l.err != nil:
		g.log(slog.LevelWarn, eventFailed, fmt.Sprintf("change %d: connections that %s had before may hang when it is tracked again: %v", of.change, name, l.err),
			append(attrs, slog.String("ERROR", l.err.Error()))...)
	case l.n == 0:
		g.log(slog.LevelInfo, eventLoosened, fmt.Sprintf("change %d: %s had no connections before", of.change, name), attrs...)
	default:
		g.log(journald.LevelNotice, eventLoosened, fmt.Sprintf("change %d: %s that %s had before will be taken up again when it is tracked again",
			of.change, connectionsText(l.n), name), attrs...)
	}
	g.loosenNext()
}

func connectionsText(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return policy.Number(n) + " connections"
}
