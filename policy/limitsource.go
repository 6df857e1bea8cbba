package policy

import (
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

// linger is how long an entry stays that nobody needs, by the kernel's longest timeout
// for those that are not established (tcp_timeouts, nf_conntrack_proto_tcp.c).
const linger = 2 * time.Minute

// trifle is how many packets a second may be refused of a source that is as good as
// quiet.
const trifle = 1

// release ends leases whose reason has gone: at once where the policy does not want them
// any more, and otherwise when the source has been quiet for the hold, or the table has
// had room for all that was refused.
func (st *State) release(s *Snapshot, c *Config, now time.Duration) (out []Decision) {
	room := st.roomAgain(s, c)
	open := stack(s, LimitSource)
	for _, ch := range open {
		why := unwanted(s, c, ch)
		if why == "" {
			refused, known := s.refused(ch.ID)
			takes := refused * linger.Seconds()
			quiet := known && refused < trifle && st.Now.lost.full == 0 // a full table refuses what it makes before we do
			well := quiet || known && takes <= room
			if ch.After == Limited && levelOf(open, ch.Terms) == Dropped {
				well = false // what is dropped is not refused
			}
			if st.wellFor(ch, well, now) < c.LimitSource.Hold {
				continue
			}
			room -= takes
			why = fmt.Sprintf("quiet for %s", Span(c.LimitSource.Hold))
			if !quiet {
				why = fmt.Sprintf("room for its %s/s for %s: %s entries (%s)",
					Number(int(refused)), Span(c.LimitSource.Hold), Number(s.Count), Percent(st.Now.Utilization))
			}
		}
		out = append(out, st.end(ch, why)...)
	}
	return out
}

// roomAgain is how many entries more the table may hold without new trouble. Where the
// trouble is not one of room there is none: then only who has become quiet is let go.
func (st *State) roomAgain(s *Snapshot, c *Config) float64 {
	mark := middle(c) // as for the end of an episode
	switch cause := st.Now.Cause; {
	case cause != None && !cause.ofTable():
		return -1
	case st.Episode.Name == "":
		mark = c.Watch.High
	}
	return mark*float64(s.Max) - float64(s.Count)
}

// end takes a lease back.
func (st *State) end(ch Change, why string) []Decision {
	d := st.undo(ch, ch.After, why)
	d[0].Terms = &ch.Terms
	return d
}

// unwanted says why the policy does not want a lease at all, empty if it does.
func unwanted(s *Snapshot, c *Config, ch Change) string {
	m := &c.LimitSource
	t := ch.Terms
	switch {
	case min(c.Mode, m.Mode) < Act:
		return "the policy is in mode " + min(c.Mode, m.Mode).String() + " now"
	case ch.After == Dropped && m.Escalation < DropAll:
		return "the policy no longer drops sources"
	case t != termsOf(m, c.Lease, t.Source, ch.After) || t.Source.Bits() != m.bits(t.Source):
		return "the policy has other terms now"
	}
	if why := allowed(s, c, t.Source); why != "" {
		return "never limited: " + why
	}
	return ""
}

// refused is how many packets a second a lease refuses; known is false while the kernel
// has not been asked.
func (s *Snapshot) refused(change int) (perSecond float64, known bool) {
	for _, l := range s.Leases {
		if l.Change == change {
			return l.Refused, true
		}
	}
	return 0, false
}

// levelOf is what is done about a source, 0 for nothing.
func levelOf(open []Change, t Terms) (level int) {
	for _, ch := range open {
		if ch.Terms.Source == t.Source {
			level = max(level, ch.After)
		}
	}
	return level
}

// escalate goes a step further about sources that, long after they were limited, go on
// and still hold their share of a table in trouble: first what they have in it without a reply is
// deleted, then all that they send is dropped.
func (st *State) escalate(s *Snapshot, c *Config, now time.Duration) (out []Decision) {
	m, a := &c.LimitSource, &st.Now
	if m.Escalation == LimitOnly || !a.ofSources() || a.Census.At == 0 || s.Unable != "" || st.refusedLately(s, now) {
		return nil
	}
	step := time.Duration(m.EscalateAfter) * c.Lease
	open := stack(s, LimitSource)
	for _, ch := range open {
		h, found := a.Census.holder(ch.Terms.Source)
		refused, known := s.refused(ch.ID)
		goesOn := known && refused >= trifle
		if ch.After != Limited || !goesOn || !found || h.Share.Low < m.Share || levelOf(open, ch.Terms) != Limited {
			continue
		}
		since := a.Census.At - ch.Made // of what is known
		still := fmt.Sprintf("%s still holds %s of the table, limited for %s", h.text(), h.Share.text(), Span(now-ch.Made))
		switch {
		case ch.Walk.Done && since >= 2*step && a.Census.At > st.pruned && m.Escalation == DropAll:
			out = append(out, st.lease(Do, ch.Terms.Source, Dropped, c, still))
		case since >= step && ch.Walk == (Walk{}):
			d := st.decision(Prune, still).about(ch)
			d.Terms = &ch.Terms
			out, st.pruned = append(out, d), a.Census.At
		}
	}
	return out
}

// lease decides about what is done to a source.
func (st *State) lease(v Verb, source prefix, level int, c *Config, reason string) Decision {
	d := st.decision(v, reason)
	if a := &st.Now; a.Cause != d.Cause {
		d.Cause, d.Pattern, d.Confidence = a.Cause, a.Pattern, a.Confidence
	}
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
