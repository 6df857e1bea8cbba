package guard

import (
	"fmt"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Status is the state of things in one line, for systemctl status.
func (g *Guard) Status() string {
	s := &g.snapshot
	if g.blind != "" {
		return g.blind
	}
	if s.Max == 0 {
		return fmt.Sprintf("no limit: %s entries, nf_conntrack_max is 0 and there is nothing to guard", policy.Number(s.Count))
	}
	parts := []string{fmt.Sprintf("%s: %s of %s (%s)", g.health(), policy.Number(s.Count), policy.Number(s.Max), policy.Percent(s.Utilization()))}
	if g.state.Now.Pressed && g.state.Now.TimeToFull != policy.Never {
		parts = append(parts, "full in "+policy.Span(g.state.Now.TimeToFull))
	}
	if n := g.active(); n > 0 {
		parts = append(parts, changesText(n)+" active")
	}
	if text := g.limitedText(); text != "" {
		parts = append(parts, text)
	}
	if g.Config.Mode != policy.Act {
		parts = append(parts, "mode "+g.Config.Mode.String())
	}
	if len(g.reload.problems) > 0 {
		parts = append(parts, "policy file rejected, the last good one is in force")
	}
	if g.nameless != "" {
		parts = append(parts, g.nameless)
	}
	if g.snapshot.Paused != "" {
		parts = append(parts, g.snapshot.Paused)
	}
	if g.unable != "" {
		parts = append(parts, "unable to act: "+g.unable)
	}
	return strings.Join(parts, ", ")
}

func (g *Guard) health() string {
	e := &g.state.Episode
	switch {
	case e.Cause == policy.None:
		return "healthy"
	case e.Pattern == policy.NoPattern:
		return string(e.Cause)
	}
	return fmt.Sprintf("%s (%s)", e.Cause, e.Pattern)
}

func changesText(n int) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

// active counts the changes in force.
func (g *Guard) active() (n int) {
	for _, c := range g.changes() {
		if c.State == policy.Applied {
			n++
		}
	}
	return n
}
