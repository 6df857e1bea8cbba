package policy

import (
	"cmp"
	"fmt"
	"time"
)

// limitSource limits the new connections of the few sources that take the table from
// everybody else, goes further where that does not help and is approved, and ends each
// limit when its reason has gone.
func (st *State) limitSource(s *Snapshot, c *Config, now time.Duration) []Decision {
	out := st.release(s, c, now)
	if out == nil { // a census from before says nothing of what is let go now
		out = st.escalate(s, c, now)
	}
	return append(out, st.limitOffenders(s, c, now)...)
}

// levelOf is what is done about a source, 0 for nothing.
func levelOf(open []Change, source prefix) (level int) {
	for _, ch := range open {
		if ch.Terms.Source == source {
			level = max(level, ch.After)
		}
	}
	return level
}

// escalate goes a step further about sources that, long after they were limited, go on
// and still hold their share of a table in trouble: first what they have in it without a
// reply is deleted, then all that they send is dropped.
func (st *State) escalate(s *Snapshot, c *Config, now time.Duration) (out []Decision) {
	m, a := &c.LimitSource, &st.Now
	if m.Escalation == LimitOnly || min(c.Mode, m.Mode) < Act || !a.ofSources() || a.Census.At == 0 || cmp.Or(s.Paused, s.Unable) != "" || st.refusedLately(s, now) {
		return nil
	}
	step := time.Duration(m.EscalateAfter) * c.Lease
	open := stack(s, LimitSource)
	for _, ch := range open {
		h, found := a.Census.holder(ch.Terms.Source)
		refused, known := s.refused(ch.ID)
		goesOn := known && refused >= trifle
		if ch.After != Limited || !goesOn || !found || h.Share.Low < m.Share || levelOf(open, ch.Terms.Source) != Limited {
			continue
		}
		since := a.Census.At - ch.Made // of what is known
		still := fmt.Sprintf("%s still holds %s of the table, limited for %s", h.text(), h.Share.text(), Span(now-ch.Made))
		switch {
		case ch.Walk.Done && allowed(s, c, ch.Terms.Source, Dropped) == "" && since >= 2*step && a.Census.At > st.pruned && m.Escalation == DropAll:
			out = append(out, st.wish(s, Act, st.lease(ch.Terms.Source, Dropped, c, still), now)...)
		case since >= step && !ch.Walk.Done && !ch.Walk.Running:
			d := st.decision(Prune, still).about(ch)
			d.Terms = &ch.Terms
			out, st.pruned = append(out, d), a.Census.At
		}
	}
	return out
}

// lease decides about what is done to a source.
func (st *State) lease(source prefix, level int, c *Config, reason string) Decision {
	d := st.seen(Do, reason)
	terms := termsOf(&c.LimitSource, c.Lease, source, level)
	d.Measure, d.To, d.Terms = LimitSource, level, &terms
	return d
}

func termsOf(m *LimitSourceConfig, lease time.Duration, source prefix, level int) Terms {
	t := Terms{Source: source, Lease: lease}
	if level == Limited {
		t.Rate, t.Burst = m.Rate, m.Burst
	}
	return t
}
