package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A grade is how bad things are. Its number is the exit code of status --check, as
// monitoring plugins have it.
type grade int

const (
	fine     grade = 0
	warning  grade = 1
	critical grade = 2
)

func (g grade) String() string { return [...]string{"OK", "WARNING", "CRITICAL"}[g] }

// A finding is one thing that is not as it should be.
type finding struct {
	grade
	text string
}

// oldReading is how old the newest reading may be: several times the longest pause between
// two, and the second that a blind daemon waits.
const oldReading = 15 * time.Second

// findings lists what is wrong, the worst first.
func findings(s *control.Status, now time.Time) []finding {
	return append(criticals(s, now), warnings(s)...)
}

// criticals are what costs connections, or has the guardian stand by while it may.
func criticals(s *control.Status, now time.Time) (list []finding) {
	say := func(format string, args ...any) { list = append(list, finding{critical, fmt.Sprintf(format, args...)}) }
	if s.Losses.Losing {
		say("losing connections: %s", trouble(s))
	}
	if why := blind(s, now); why != "" {
		say("blind: %s", why)
	}
	if s.Unable != "" {
		say("unable to act: %s", s.Unable)
	}
	return list
}

// warnings are what an operator should see soon.
func warnings(s *control.Status) (list []finding) {
	say := func(format string, args ...any) { list = append(list, finding{warning, fmt.Sprintf(format, args...)}) }
	switch {
	case s.Losses.Losing: // said already
	case s.Cause != policy.None:
		say("%s", trouble(s))
	case s.Episode != nil:
		say("calm again, the episode is not over yet")
	}
	if n := len(due(s)); n > 0 {
		say("%s for your approval", verbText(n, "piece of advice waits", "pieces of advice wait"))
	}
	if s.Paused != nil {
		say("paused until %s by %s", clockText(s.Paused.Until, s.At), s.Paused.By)
	}
	for _, y := range s.Yielded {
		if y.RolledBack {
			say("change %d was rolled back, the guardian keeps off until %s", y.ID, clockText(y.Until, s.At))
		} else {
			say("change %d was given up to somebody else", y.ID)
		}
	}
	if n := len(s.Policy.Problems); n > 0 {
		say("the policy file is rejected, an older policy is in force (%s)", verbText(n, "problem", "problems"))
	}
	if s.Record != nil && s.Record.Error != "" {
		say("nothing is recorded: %s", s.Record.Error)
	}
	return list
}

// verbText is a number with the word for it.
func verbText(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return policy.Number(n) + " " + many
}

// due is the advice that is still right.
func due(s *control.Status) (list []control.Advice) {
	for _, a := range s.Advice {
		if a.Due {
			list = append(list, a)
		}
	}
	return list
}

// plainly says what a cause means for the table.
var plainly = map[policy.Cause]string{
	policy.TableFull:   "the table is full",
	policy.SNATPorts:   "no source port is left for SNAT",
	policy.HashChains:  "the hash chains are too long",
	policy.MemoryShort: "there is no memory for entries",
	policy.Unknown:     "packets are dropped and the reason is not known",
}

// trouble says what is wrong with the table now.
func trouble(s *control.Status) string {
	text, ok := plainly[s.Cause]
	if !ok {
		text = string(s.Cause)
	}
	if t := s.Table.TimeToFull; s.Cause == policy.TableFilling {
		if text = "the table is nearly full"; t != nil {
			text = "the table is filling, full in " + secondsText(*t)
		}
	}
	words := []string{string(s.Cause)}
	if s.Pattern != policy.NoPattern {
		words = append(words, string(s.Pattern))
	}
	if s.Confidence > 0 {
		words = append(words, policy.Percent(s.Confidence)+" sure")
	}
	return text + " (" + strings.Join(words, ", ") + ")"
}

// worst is the grade of the whole.
func worst(list []finding) (g grade) {
	for _, f := range list {
		g = max(g, f.grade)
	}
	return g
}

// doing says what the guardian does about it.
func doing(s *control.Status, now time.Time) string {
	var parts []string
	nothing := "nothing"
	if n := len(s.Active); n > 0 {
		newest := s.Active[n-1]
		text := fmt.Sprintf("%s in force; the newest: %s", verbText(n, "change", "changes"), newest.Text)
		if newest.Outcome != "" {
			text += ", " + string(newest.Outcome)
		}
		parts, nothing = append(parts, text), "nothing more"
	}
	switch why := idle(s, now); {
	case why != "":
		parts = append(parts, nothing+why)
	case len(parts) == 0 && s.Cause != policy.None:
		parts = append(parts, "nothing yet")
	case len(parts) == 0:
		parts = append(parts, "watching; nothing of the guardian's is in force")
	}
	return strings.Join(parts, "; ")
}

// idle says why the guardian does nothing new, empty while it may.
func idle(s *control.Status, now time.Time) string {
	switch a := s.Acts.All; {
	case blind(s, now) != "":
		return ": it can't see the table"
	case s.Paused != nil:
		return " until " + clockText(s.Paused.Until, now) + ": it is paused"
	case s.Unable != "":
		return ": it can't"
	case s.Mode != policy.Act.String():
		return " by itself: the mode is " + s.Mode
	case a.Allowed > 0 && a.Used >= a.Allowed:
		return fmt.Sprintf(" by itself: %d acts in the last hour, as many as the policy allows", a.Used)
	}
	return ""
}

// blind says why nothing is seen, empty while something is.
func blind(s *control.Status, now time.Time) string {
	if age := now.Sub(s.At); s.Blind == "" && age > oldReading {
		return "the newest reading is " + policy.Span(age) + " old"
	}
	return s.Blind
}

// secondsText writes seconds.
func secondsText(seconds float64) string { return policy.Span(secondsOf(seconds)) }

func secondsOf(seconds float64) time.Duration {
	if seconds >= float64(policy.Never)/float64(time.Second) {
		return policy.Never
	}
	return time.Duration(seconds * float64(time.Second))
}

// clockText writes a moment as the operator's clock shows it, with its date on another day
// than that of now.
func clockText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() != now.YearDay() || t.Year() != now.Year() {
		return t.Format("Jan _2 15:04")
	}
	return t.Format("15:04:05")
}
