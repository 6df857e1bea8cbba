package policy

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"
)

type prefix = netip.Prefix

// An offender is a source that is limited, or would be.
type offender struct {
	Holder
	why string // what speaks for it
}

// ofSources reports whether the trouble may be the doing of single sources.
func (a *Assessment) ofSources() bool {
	return a.Cause.ofTable() || a.Cause == MemoryShort
}

// limitOffenders limits those that the newest census finds, each census being asked
// once. When there are more of them than may be limited it is not a matter of single
// sources, and nobody is.
func (st *State) limitOffenders(s *Snapshot, c *Config, now time.Duration) []Decision {
	m, a := &c.LimitSource, &st.Now
	mode := min(c.Mode, m.Mode)
	if mode == Off || a.Census.At == 0 || a.Census.At == st.ranked {
		return nil
	}
	st.ranked, st.asked = a.Census.At, now
	if !a.ofSources() || a.age > c.Census.Takes()+pursuit { // it tells of another time
		st.fast, st.hog = [MaxLimited]prefix{}, prefix{}
		return nil
	}
	found, others := st.offenders(s, c, now)
	n := len(sourcesOf(stack(s, LimitSource)))
	switch {
	case len(found) == 0 && len(others) == 0:
		return st.nobody(m)
	case n+len(found) > m.MaxSources:
		return st.bounded(LimitSource, n, fmt.Sprintf("no %ssource is limited: %d more would be and %d may be, so it is not the doing of a few: %s",
			further(n), len(found), m.MaxSources, ranking(found, "", nil)))
	case len(found) == 0:
		return st.bounded(LimitSource, n, "no "+further(n)+"source is limited: "+ranking(nil, "", others))
	case st.refusedLately(s, now):
		return nil
	}
	return st.limit(s, c, mode, found, others, now)
}

// limit decides about offenders, after the list of all that come into question.
func (st *State) limit(s *Snapshot, c *Config, mode Mode, found []offender, others []string, now time.Duration) (out []Decision) {
	for _, o := range found {
		out = append(out, st.wish(s, mode, st.lease(o.Prefix, Limited, c, o.why), now, s.Unlisted)...)
	}
	if len(out) == 0 {
		return nil // all of it was said
	}
	return append(st.rank(found, others), out...)
}

// further is a word for where some are limited already.
func further(n int) string {
	if n > 0 {
		return "further "
	}
	return ""
}

// rank gives the list of those in question, once in a phase of the episode while the
// offenders are the same.
func (st *State) rank(found []offender, others []string) []Decision {
	h := fnv.New64a()
	for _, o := range found {
		fmt.Fprint(h, o.Prefix) // a hash takes all
	}
	sum := h.Sum64()
	if st.Episode.said.ranked == sum {
		return nil
	}
	st.Episode.said.ranked = sum
	d := st.seen(Rank, ranking(found, "limit", others))
	d.Measure = LimitSource
	return []Decision{d}
}

// offenders are the sources that surely hold their share of the table and steadily make
// more connections than they would be left, the largest first. Of a table that refuses
// connections nobody can be seen making them: there, who has held most of it for two
// censuses is one, too. While nothing presses it takes two censuses for the rate, too: the
// second that is counted may be a burst. The others are those of a like share, with the
// reason why not.
func (st *State) offenders(s *Snapshot, c *Config, now time.Duration) (found []offender, others []string) {
	m, k := &c.LimitSource, &st.Now.Census
	open := stack(s, LimitSource)
	hog, fast := st.hog, st.fast
	st.hog, st.fast = prefix{}, [MaxLimited]prefix{}
	if k.Sources[0].Share.Low >= dominates {
		st.hog = k.Sources[0].Prefix
	}
	for i, h := range k.Sources {
		if !h.Prefix.IsValid() || h.Share.Low < m.Share {
			continue
		}
		holds := fmt.Sprintf("%s holds %s of the table", h.text(), h.Share.text())
		if h.Steady > 0 {
			holds += fmt.Sprintf(" and steadily makes %s connections/s", Number(int(h.Steady)))
		}
		steady := h.Steady > float64(m.Rate)
		if steady {
			st.fast[i] = h.Prefix
		}
		stuck := h.Prefix == hog && h.Prefix == st.hog && st.Now.lost.full > 0 && !k.clears(h)
		why := allowed(s, c, h.Prefix, Limited)
		switch {
		case levelOf(open, h.Prefix) > 0:
			continue
		case why != "":
			others = append(others, holds+", but is never limited: "+why)
		case h.Prefix.Bits() != m.bits(h.Prefix):
			continue // of a census that was taken under another policy
		case steady && !st.pressesWith(s, h) && !slices.Contains(fast[:], h.Prefix):
			continue // the next census will tell
		case !steady && !stuck:
			if st.Now.Losing() {
				others = append(others, holds+", "+h.slow(m))
			}
		case st.spent(s, h.Prefix, c.Watch.YieldFor, now):
			others = append(others, holds+", but limiting it did not help in this episode, or somebody has ended that lately")
		default:
			found = append(found, offender{h, holds})
		}
	}
	slices.SortStableFunc(found, func(a, b offender) int {
		return cmp.Or(-cmp.Compare(a.Share.Low, b.Share.Low), -cmp.Compare(a.Steady, b.Steady))
	})
	return found, others
}

// pressesWith reports whether there is no waiting for another census: the trouble presses,
// or the source alone would fill the table before it.
func (st *State) pressesWith(s *Snapshot, h Holder) bool {
	return st.presses() || h.Steady*(2*pursuit).Seconds() > float64(s.Max-s.Count)
}

// clears reports whether the counters say that a source makes few of the connections. Of
// those that a full table refuses it makes the same share.
func (k *Census) clears(h Holder) bool { return k.Counted && h.New < noteworthy*k.New }

// slow says why a source's rate is none to limit.
func (h *Holder) slow(m *LimitSourceConfig) string {
	switch {
	case h.Steady > 0:
		return fmt.Sprintf("no more than the %s/s that it would be left", Number(m.Rate))
	case h.New > 0:
		return "but makes connections in bursts only"
	}
	return "but how fast it makes connections is not known"
}

// spent reports whether there is no use in limiting a source again: it did not help in
// this phase of the episode, or somebody else has taken the lease from us lately. A
// census from before it was released does not count against it either.
func (st *State) spent(s *Snapshot, source prefix, yieldFor, now time.Duration) bool {
	return slices.ContainsFunc(s.Changes, func(ch Change) bool {
		if ch.Measure != LimitSource || ch.Terms.Source != source {
			return false
		}
		return ch.Outcome == DidNotHelp && st.thisPhase(ch) || (ch.State == Yielded || ch.RolledBack && !st.insists(s, LimitSource)) && now-ch.At < yieldFor ||
			ch.State == Undone && st.Now.Census.At < ch.At
	})
}

// nobody says, when connections are being lost, that no source stands out.
func (st *State) nobody(m *LimitSourceConfig) []Decision {
	h := st.Now.Census.Sources[0]
	if !st.Now.Losing() || !h.Prefix.IsValid() || h.Share.Low >= m.Share {
		return nil
	}
	return st.bounded(LimitSource, 0, fmt.Sprintf("no source is limited: the largest, %s, holds %s of the table, less than %s",
		h.text(), h.Share.text(), Percent(m.Share)))
}

// refusedLately reports whether the kernel refused a lease so lately that it is not
// asked again yet.
func (st *State) refusedLately(s *Snapshot, now time.Duration) bool {
	return st.resting(s, LimitSource, 0, 0, now)
}

// allowed says why a source is never brought to a level, empty if it may be. A prefix that
// has one such address is let alone whole. Only where it has but the gateway's own address
// may it be limited, as any network may that the gateway is in: what the gateway sends
// itself does not come by the limiter, but by the loopback it does where all is dropped.
func allowed(s *Snapshot, c *Config, source prefix, level int) string {
	for _, p := range c.LimitSource.Allow {
		if p.Overlaps(source) {
			return "allowed by the policy"
		}
	}
	for _, a := range s.Allowed {
		if a.Prefix.Overlaps(source) && (!a.Own || level > Limited || source.IsSingleIP()) {
			return a.Why
		}
	}
	return ""
}

// bits is the length of a source's prefix.
func (m *LimitSourceConfig) bits(source prefix) int {
	if source.Addr().Is4() {
		return m.IPv4Bits
	}
	return m.IPv6Bits
}

// sourcesOf are the sources of leases, each once.
func sourcesOf(open []Change) (list []prefix) {
	for _, ch := range open {
		if !slices.Contains(list, ch.Terms.Source) {
			list = append(list, ch.Terms.Source)
		}
	}
	return list
}

// rankedAtMost is how many sources a list names.
const rankedAtMost = 8

// ranking lists sources in order, and what becomes of each.
func ranking(found []offender, what string, others []string) string {
	var parts []string
	for _, o := range found {
		if what != "" {
			parts = append(parts, o.why+": "+what)
		} else {
			parts = append(parts, o.why)
		}
	}
	parts = append(parts, others...)
	if n := len(parts) - rankedAtMost; n > 0 {
		parts = append(parts[:rankedAtMost], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(parts, "; ")
}

// holder is what a census says of a source.
func (k *Census) holder(source prefix) (h Holder, found bool) {
	for _, h := range k.Sources {
		if h.Prefix == source {
			return h, true
		}
	}
	return Holder{}, false
}
