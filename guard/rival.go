package guard

import (
	"context"
	"log/slog"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/rival"
)

// Suspects finds out who may have written values of ours. It takes a while, and is called
// beside the loop. rival.Suspects of this machine is the real one.
type Suspects func(ctx context.Context, drifts ...rival.Drift) []rival.Suspect

// accusing is what the loop knows of its search for rivals.
type accusing struct {
	errand
	lines []yieldLine // that wait for it
}

// A yieldLine is the report of a yield, without who is to blame.
type yieldLine struct {
	message string
	attrs   []slog.Attr
	drifts  []rival.Drift
}

// accuse reports a yield once it is known who may be behind it.
func (g *Guard) accuse(l yieldLine) {
	g.accusing.lines = append(g.accusing.lines, l)
	g.meetSuspects()
}

// meetSuspects reports what is known, and has the next yield looked into.
func (g *Guard) meetSuspects() {
	a := &g.accusing
	a.meet()
	if a.away() || len(a.lines) == 0 {
		return
	}
	l := a.lines[0]
	a.lines = a.lines[1:]
	if g.Suspects == nil {
		g.reportYield(l, nil)
		return
	}
	find, ctx := g.Suspects, g.living
	a.send(func() (takeIn func()) {
		found := find(ctx, l.drifts...)
		return func() { g.reportYield(l, found) }
	})
}

// awaitSuspects reports all yields at the end, those that nobody has looked into without.
func (g *Guard) awaitSuspects() {
	a := &g.accusing
	if takeIn, back := a.await(lastWait); back {
		takeIn()
	}
	for _, l := range a.lines {
		g.reportYield(l, nil)
	}
	a.lines = nil
}

func (g *Guard) reportYield(l yieldLine, found []rival.Suspect) {
	if found != nil && len(l.drifts) > 0 { // else nobody has looked
		l.message += "; " + rival.Sentence(found)
	}
	for _, s := range found {
		if s.Likely {
			l.attrs = append(l.attrs, slog.String("SUSPECT", s.Name))
		}
	}
	g.log(slog.LevelWarn, eventYielded, l.message, l.attrs...)
}

// taken are the values of a change that were found to be somebody else's.
func taken(c ledger.Change) (drifts []rival.Drift) {
	for _, e := range c.Edits {
		drifts = append(drifts, rival.Drift{Key: e.Key, Ours: e.After})
	}
	return drifts
}
