package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// linger is how long an entry stays that nobody needs, by the kernel's longest timeout
	// for those that are not established (tcp_timeouts, nf_conntrack_proto_tcp.c).
	linger = 5 * time.Minute
	// trifle is how many packets a second may be refused of a source that is as good as
	// quiet.
	trifle = 1
	// longerHold is how many times the hold of a source may double that is limited again
	// and again: one that floods and pauses in turn is not let go at each pause.
	longerHold = 4
)

// release ends leases whose reason has gone: at once where the policy does not want them
// any more, and otherwise when the source has been quiet for the hold, or the table has
// had room for all that was refused.
func (st *State) release(s *Snapshot, c *Config, now time.Duration) (out []Decision) {
	room := st.roomAgain(s, c)
	open := stack(s, LimitSource)
	sources := sourcesOf(open)
	for _, ch := range open {
		why := unwanted(s, c, ch)
		if terms := termsOf(&c.LimitSource, c.Lease, ch.Terms.Source, ch.After); why == "" && ch.Terms != terms {
			out = append(out, st.replace(s, ch, terms)...)
			continue
		}
		if most := c.LimitSource.MaxSources; why == "" && slices.Index(sources, ch.Terms.Source) >= most {
			why = fmt.Sprintf("the policy limits %d sources at most now", most)
		}
		if why == "" {
			var takes float64
			if why, takes = st.ceased(s, c, ch, room, now); why == "" {
				continue
			}
			room -= takes
		}
		out = append(out, st.end(ch, why)...)
	}
	return out
}

// ceased says how the reason of a lease has gone, empty while it has not, and how many
// entries more its source will hold.
func (st *State) ceased(s *Snapshot, c *Config, ch Change, room float64, now time.Duration) (why string, takes float64) {
	refused, known := s.refused(ch.ID)
	takes = refused * linger.Seconds()
	quiet := known && refused < trifle && !st.hidden(ch, c)
	well := quiet || known && st.Now.Cause != MemoryShort && takes <= room && (ch.Cause != MemoryShort || st.Episode.Name == "")
	if ch.After == Limited && levelOf(stack(s, LimitSource), ch.Terms.Source) == Dropped {
		well = false // what is dropped is not refused
	}
	hold := holdOf(s, c, ch)
	switch held := st.wellFor(ch, well, now); {
	case held < hold:
		return "", 0
	case quiet:
		return "quiet for " + Span(hold), takes
	}
	return fmt.Sprintf("room for its %s/s for %s: %s entries (%s)",
		Number(int(refused)), Span(hold), Number(s.Count), Percent(st.Now.Utilization)), takes
}

// roomAgain is how many entries more the table may hold without new trouble.
func (st *State) roomAgain(s *Snapshot, c *Config) float64 {
	mark := middle(c) // as for the end of an episode
	if st.Episode.Name == "" {
		mark = c.Watch.High
	}
	return mark*float64(s.Max) - float64(s.Count)
}

// hidden reports whether a limited source may go on although nothing of it is refused: a
// full table refuses it first (nf_conntrack_in comes before the limiter), and it is the
// one that fills it. What is dropped comes before both.
func (st *State) hidden(ch Change, c *Config) bool {
	k := &st.Now.Census
	if st.Now.lost.full == 0 || ch.After != Limited || k.At < ch.Made {
		return false
	}
	h, found := k.holder(ch.Terms.Source)
	return found && h.Share.Low >= c.LimitSource.Share && !k.clears(h)
}

// holdOf is the hold of a lease: longer for a source that was limited not long ago.
func holdOf(s *Snapshot, c *Config, ch Change) time.Duration {
	hold, most := c.LimitSource.Hold, c.LimitSource.Hold<<longerHold
	for _, before := range s.Changes {
		lately := ch.Made-before.Made < 4*most
		if before.Measure == LimitSource && before.State == Undone && before.ID < ch.ID && lately &&
			before.Terms.Source == ch.Terms.Source && before.After == ch.After && !replaced(s, before.ID) {
			hold = min(2*hold, most)
		}
	}
	return hold
}

// replaced reports whether a lease was made again on other terms.
func replaced(s *Snapshot, change int) bool {
	return slices.ContainsFunc(s.Changes, func(ch Change) bool { return ch.Replaces == change })
}

// end takes a lease back.
func (st *State) end(ch Change, why string) []Decision {
	d := st.undo(ch, ch.After, why)
	d[0].Terms = &ch.Terms
	return d
}

const otherTerms = "the policy has other terms now"

// replace takes a lease back and makes it again with the terms that the policy has now.
// Where that can't be done, it stays as it is.
func (st *State) replace(s *Snapshot, ch Change, terms Terms) []Decision {
	if cmp.Or(s.Paused, s.Unable) != "" {
		return nil
	}
	out := st.end(ch, otherTerms)
	d := st.decision(Do, otherTerms).about(ch)
	d.Change, d.Replaces, d.To, d.Terms, d.ApprovedBy = 0, ch.ID, ch.After, &terms, ch.ApprovedBy
	d.ID = st.idOf(s, &d)
	return append(out, d)
}

// unwanted says why the policy does not want a lease at all, empty if it does.
func unwanted(s *Snapshot, c *Config, ch Change) string {
	m := &c.LimitSource
	t := ch.Terms
	switch {
	case s.Max == 0:
		return "the table has no limit now"
	case !stays(ch, min(c.Mode, m.Mode)):
		return "the policy is in mode " + min(c.Mode, m.Mode).String() + " now"
	case ch.After == Dropped && m.Escalation < DropAll:
		return "the policy no longer drops sources"
	case t.Source.Bits() != m.bits(t.Source):
		return otherTerms
	}
	if why := allowed(s, c, t.Source, ch.After); why != "" {
		return "never limited: " + why
	}
	return ""
}

// stays reports whether a restriction may stay in force in a mode: in act, and in advise
// one that an operator has approved.
func stays(ch Change, mode Mode) bool {
	return mode == Act || mode == Advise && ch.ApprovedBy != ""
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
