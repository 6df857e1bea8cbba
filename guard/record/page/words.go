package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// title names what the episode was taken for, each cause once and the pattern last
// named.
func (r *Report) title() string {
	var causes []string
	var pattern policy.Pattern
	for _, d := range r.Diagnoses {
		if !slices.Contains(causes, string(d.Cause)) {
			causes = append(causes, string(d.Cause))
		}
		pattern = cmp.Or(d.Pattern, pattern)
	}
	if pattern != policy.NoPattern {
		causes[len(causes)-1] += " (" + string(pattern) + ")"
	}
	return cmp.Or(strings.Join(causes, ", then "), "cause not recorded")
}

// summary tells the episode in a few sentences.
func (r *Report) summary() string {
	out := []string{r.peakSentence(), r.lostSentence()}
	done, undone := r.Done()
	switch {
	case done > 0:
		out = append(out, fmt.Sprintf("%s made, %s of them taken back.", plural(done, "change was", "changes were"), policy.Number(undone)))
	case len(r.Advice) > 0:
		out = append(out, fmt.Sprintf("Nothing was changed; %s advised.", plural(len(r.Advice), "change was", "changes were")))
	default:
		out = append(out, "Nothing was changed.")
	}
	if r.Open() {
		out = append(out, "The episode has not ended in this record.")
	}
	return strings.Join(out, " ")
}

func (r *Report) peakSentence() string {
	p := r.Peak
	switch {
	case p.At.IsZero():
		return "The record has no reading of the episode."
	case p.Max == 0:
		return fmt.Sprintf("The table held %s entries at most, and the kernel kept no limit.", policy.Number(p.Count))
	}
	return fmt.Sprintf("At its fullest, at %s, the table held %s of %s entries: %s.",
		r.clock(p.At), policy.Number(p.Count), policy.Number(p.Max), exactPercent(p.Utilization))
}

func (r *Report) lostSentence() string {
	if r.Losses.Sum() == 0 {
		return "Nothing was lost."
	}
	return fmt.Sprintf("%s lost (%s).", plural(int(r.Losses.Sum()), "connection or packet was", "connections or packets were"), r.Losses.text())
}

// text lists what is not nothing.
func (l Losses) text() string {
	var parts []string
	for _, x := range []struct {
		name string
		n    uint64
	}{{"drop", l.Drop}, {"insert_failed", l.InsertFailed}, {"early_drop", l.EarlyDrop}} {
		if x.n > 0 {
			parts = append(parts, x.name+" "+policy.Number(int(x.n)))
		}
	}
	return strings.Join(parts, ", ")
}

// plural writes a number with the word that fits.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return policy.Number(n) + " " + many
}

// exactPercent writes a utilization with the digit that tells nearly full from full.
func exactPercent(u float64) string { return fmt.Sprintf("%.1f %%", u*100) }

// clock writes the time of day of what happened on the episode's first day, with the
// date otherwise. Readings can be a tenth of a second apart.
func (r *Report) clock(t time.Time) string {
	if sameDay(t, r.Begun) {
		return t.Format("15:04:05.0")
	}
	return t.Format("2006-01-02 15:04:05.0")
}

func sameDay(a, b time.Time) bool {
	return a.Year() == b.Year() && a.YearDay() == b.YearDay()
}

// when says from when to when it lasted.
func (r *Report) when() string {
	begun := r.Begun.Format("2006-01-02 15:04:05.0")
	if r.Open() {
		return fmt.Sprintf("%s UTC, going on after %s", begun, policy.Span(r.Lasted()))
	}
	return fmt.Sprintf("%s to %s UTC, %s", begun, r.clock(r.Ended), policy.Span(r.Lasted()))
}

// text says what was seen of a change's effect.
func (e *Effect) text() string {
	span := policy.Span(time.Duration(e.Span * float64(time.Second)))
	return fmt.Sprintf("%s lost in the %s before it, %s in the %s after it; utilization %s then, %s after that",
		policy.Number(int(e.LostBefore)), span, policy.Number(int(e.LostAfter)), span, exactPercent(e.Before), exactPercent(e.After))
}

// outcome says how its effect was judged.
func (c *Change) outcome() string {
	switch {
	case c.Outcome == "" && c.State == policy.Failed:
		return "the kernel refused it"
	case c.Outcome == "":
		return "not judged"
	case c.Judged == "":
		return string(c.Outcome)
	}
	return string(c.Outcome) + ": " + c.Judged
}

// end says what became of a change.
func (r *Report) end(c *Change) string {
	at := r.clock(c.Since)
	switch c.State {
	case policy.Undone:
		return "taken back at " + at + ": " + cmp.Or(c.Ended, "not by the policy: an operator, or the daemon's stop")
	case policy.Yielded:
		return "given up at " + at + ": " + cmp.Or(c.Ended, "somebody else has changed the value")
	case Void:
		return "void since " + at + ": " + c.Ended
	case policy.Failed:
		return ""
	}
	return "in force at the end of this record"
}

// made says when a change was made.
func (r *Report) madeText(c *Change) string {
	at := r.clock(c.Made)
	switch {
	case c.State == policy.Failed:
		return "tried at " + at
	case c.Earlier:
		return "made before the episode, at " + at
	case c.ApprovedBy != "":
		return "made at " + at + ", approved by " + c.ApprovedBy
	}
	return "made at " + at
}

// gapText says from when to when nothing was read, and why.
func (r *Report) gapText(g Gap) string {
	text := fmt.Sprintf("No reading from %s to %s", r.clock(g.From), r.clock(g.To))
	if g.Why != "" {
		text += ": " + g.Why
	}
	return text + "."
}

// keptText says how many kernel values are as they were.
func (r *Report) keptText() string {
	return fmt.Sprintf("Of %s recorded, %s as before.", plural(r.Kept+len(r.Values), "value", "values"), plural(r.Kept, "is", "are"))
}
