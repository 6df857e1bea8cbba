package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/rival"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// log writes one journal line of a kind, for people to read and with its numbers
// as fields of their own.
func (g *Guard) log(level slog.Level, e event, message string, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String(journald.MessageID, e.id), slog.String("ACTION", e.action)}, attrs...)
	g.Log.LogAttrs(context.Background(), level, message, attrs...)
}

// numbers are the fields that every decision carries.
func numbers(d policy.Decision) []slog.Attr {
	attrs := []slog.Attr{slog.String("UTILIZATION", fmt.Sprintf("%.3f", d.Utilization))}
	if d.TimeToFull != policy.Never {
		attrs = append(attrs, slog.Duration("TIME_TO_FULL", d.TimeToFull))
	}
	for _, f := range []struct{ name, value string }{
		{"ADVICE_ID", d.ID}, {"APPROVED_BY", d.ApprovedBy}, {"ABOUT", about(d)}, {"EPISODE", d.Episode}, {"CAUSE", string(d.Cause)}, {"PATTERN", string(d.Pattern)}, {"CONFIDENCE", confidence(d)}, {"MEASURE", string(d.Measure)}, {"REASON", d.Reason},
	} {
		if f.value != "" {
			attrs = append(attrs, slog.String(f.name, f.value))
		}
	}
	return attrs
}

// confidence is that of a diagnosis, empty without one.
func confidence(d policy.Decision) string {
	if d.Confidence == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", d.Confidence)
}

// ofDecision adds what a decision would write.
func (g *Guard) ofDecision(d policy.Decision) []slog.Attr {
	list, err := edits(d, g.Namespace)
	if err != nil { // it is about no value
		return numbers(d)
	}
	return append(numbers(d), ofEdits(list)...)
}

// ofChange adds what a change wrote.
func ofChange(c ledger.Change) []slog.Attr {
	attrs := []slog.Attr{slog.Int("CHANGE_ID", c.ID)}
	if c.Level > 0 {
		attrs = append(attrs, slog.Int("LEVEL", c.Level))
	}
	return append(attrs, ofEdits(c.Edits)...)
}

// ofEdits are the fields of each value: the journal keeps all of a name.
func ofEdits(list []ledger.Edit) (attrs []slog.Attr) {
	for _, e := range list {
		attrs = append(attrs, slog.String("TARGET", e.Key), slog.String("BEFORE", e.Before), slog.String("AFTER", e.After))
	}
	return attrs
}

// reportDecision reports what was decided and needs nothing done.
func (g *Guard) reportDecision(d policy.Decision) {
	level := slog.LevelInfo
	switch d.Verb {
	case policy.Open, policy.Diagnose, policy.Advised, policy.Bounded:
		level = slog.LevelWarn
	}
	g.log(level, reported[d.Verb], Sentence(d), g.ofDecision(d)...)
}

func (g *Guard) reportDone(d policy.Decision, c ledger.Change) {
	message := fmt.Sprintf("change %d: %s: %s", c.ID, Act(d), d.Reason)
	if d.ApprovedBy != "" {
		message += "; approved by " + d.ApprovedBy
	}
	g.log(journald.LevelNotice, eventDone, message, append(numbers(d), ofChange(c)...)...)
}

// reportEnded reports a change that an undo has brought to its end: undone, or
// found to be somebody else's by now.
func (g *Guard) reportEnded(d policy.Decision, c ledger.Change) {
	message := fmt.Sprintf("change %d undone: %s", c.ID, d.Reason)
	if what := back(c); what != "" {
		message = fmt.Sprintf("change %d undone: %s: %s", c.ID, what, d.Reason)
	}
	d.Cause = policy.Cause(c.Cause)
	if c.State != ledger.Undone {
		g.accuse(yieldLine{fmt.Sprintf("change %d %s: %s", c.ID, c.State, c.Note), append(numbers(d), ofChange(c)...), taken(c)})
		return
	}
	g.log(journald.LevelNotice, eventUndone, message, append(numbers(d), ofChange(c)...)...)
}

func (g *Guard) reportJudged(d policy.Decision) {
	attrs := append(g.ofDecision(d), slog.Int("CHANGE_ID", d.Change), slog.String("OUTCOME", string(d.Outcome)))
	attrs = append(attrs, g.ofWalk(d.Change)...)
	g.log(slog.LevelInfo, eventJudged, fmt.Sprintf("change %d %s: %s", d.Change, d.Outcome, d.Reason), attrs...)
}

func (g *Guard) reportYielded(d policy.Decision) {
	attrs := append(numbers(d), slog.Int("CHANGE_ID", d.Change))
	found, err := edits(d, g.Namespace)
	if err != nil {
		found = nil
	}
	var drifts []rival.Drift
	for _, e := range found {
		attrs = append(attrs, slog.String("TARGET", e.Key), slog.String("AFTER", e.Before), slog.String("FOUND", e.After))
		drifts = append(drifts, rival.Drift{Key: e.Key, Ours: e.Before, Found: e.After})
	}
	g.accuse(yieldLine{fmt.Sprintf("change %d yielded: %s", d.Change, d.Reason), attrs, drifts})
}

func (g *Guard) reportFailed(d policy.Decision, id int, err error) {
	attrs := append(g.ofDecision(d), slog.Int("CHANGE_ID", id), slog.String("ERROR", err.Error()))
	level, message := slog.LevelError, fmt.Sprintf("%s of %s failed: %v", d.Verb, d.Measure, err)
	if errors.Is(err, actions.ErrUnsafe) {
		level, message = slog.LevelInfo, fmt.Sprintf("%s of %s waits: %v", d.Verb, d.Measure, err)
	}
	g.log(level, eventFailed, message, attrs...)
}

func (g *Guard) reportSettled(c ledger.Change) {
	message := fmt.Sprintf("found change %d of an earlier run: now %s", c.ID, c.State)
	if c.Note != "" {
		message += ": " + c.Note
	}
	attrs := append(ofChange(c), slog.String("EPISODE", c.Episode), slog.String("CAUSE", c.Cause), slog.String("REASON", c.Note))
	g.log(journald.LevelNotice, eventSettled, message, attrs...)
}

// reportUnsettled reports what stands in the way of settling, when it is new.
func (g *Guard) reportUnsettled(err error) {
	if g.failed[settling].reason != err.Error() {
		g.failed[settling] = failure{reason: err.Error()}
		g.log(slog.LevelWarn, eventFailed, "changes of an earlier run are not settled yet: "+err.Error(), slog.String("ERROR", err.Error()))
	}
}

// reportNotices passes on what the ledger says of its own file.
func (g *Guard) reportNotices() {
	for _, n := range g.Ledger.Notices() {
		g.log(slog.LevelWarn, eventSettled, "ledger: "+n, slog.String("REASON", n))
	}
}

// reportBlind reports a failed reading when its reason is new. That conntrack is
// not loaded is no failure.
func (g *Guard) reportBlind(err error) {
	level, why := slog.LevelWarn, "no reading, nothing is decided: "+err.Error()
	if errors.Is(err, sense.ErrAbsent) {
		level, why = slog.LevelInfo, "waiting: "+sense.ErrAbsent.Error()
	}
	if g.blind == why {
		return
	}
	g.blind = why
	g.log(level, eventBlind, why, slog.String("ERROR", err.Error()))
}

func (g *Guard) reportSeeing() {
	if g.blind == "" {
		return
	}
	g.blind = ""
	g.log(slog.LevelInfo, eventSeeing, "the table can be read")
	g.reportUnwritable()
}

// reportNamed reports when the guarded namespace has lost its name, and when it has one
// again.
func (g *Guard) reportNamed() {
	why := ""
	if g.Named != nil {
		if err := g.Named(); err != nil {
			why = fmt.Sprintf("the guarded namespace %s is gone (%v): what is read is what it has left", g.Namespace, err)
		}
	}
	switch {
	case why == g.nameless:
		return
	case why == "":
		g.log(slog.LevelInfo, eventSeeing, "there is a namespace "+g.Namespace+" again")
	default:
		g.log(slog.LevelWarn, eventBlind, why)
	}
	g.nameless = why
}

// reportUnable reports when changes can no longer be recorded, and when they can again.
func (g *Guard) reportUnable(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why == g.unable {
		return
	}
	g.unable = why
	if why == "" {
		g.log(slog.LevelInfo, eventAble, "changes can be recorded again: able to act")
		return
	}
	g.log(slog.LevelError, eventUnable, "changes can't be recorded, so none is made: "+why, slog.String("ERROR", why))
}
