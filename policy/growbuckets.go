package policy

import (
	"fmt"
	"time"
)

const (
	// bucketUnit is what bucket counts are rounded to: the kernel rounds up to a
	// page of pointers (nf_ct_alloc_hashtable), 8,192 on the largest pages in use.
	bucketUnit = 8192
	// bucketBytes is the size of one bucket, struct hlist_nulls_head.
	bucketBytes = 8
)

// growBuckets shortens the hash chains. It is rare: a resize stalls all packets
// for about half a second per million entries, so it comes at most once a phase
// of the episode and is taken back only where the operator asked for that. limit is max
// as raise-max leaves it at this snapshot: growing before the entries come stalls
// the fewest packets.
func (st *State) growBuckets(s *Snapshot, c *Config, now time.Duration, limit int) []Decision {
	m := &c.GrowBuckets
	if d := st.shrinkBuckets(s, c, now); d != nil {
		return d
	}
	mode := min(c.Mode, m.Mode)
	at, future := s.Count, s.Count
	if limit > s.Max {
		// It comes once, so it goes as far as raises like this one may go.
		at, future = limit, max(limit, st.future(s, c))
	}
	if mode == Off || !st.chainsTooLong(at, s, c) || drifting(s, GrowBuckets, s.Buckets) ||
		st.grewIn(s) || st.resting(s, GrowBuckets, m.Cooldown, c.Watch.YieldFor, now) {
		return nil
	}
	to, bound := sizeBuckets(s, c, future)
	// A stall for little gain is worth it only where chains already lose entries.
	if to <= s.Buckets || to < s.Buckets*3/2 && st.Now.lost.chains == 0 {
		return st.bounded(GrowBuckets, s.Buckets, fmt.Sprintf("nf_conntrack_buckets stays at %s: %s", Number(s.Buckets), bound))
	}
	return st.propose(s, GrowBuckets, mode, s.Buckets, to,
		fmt.Sprintf("a mean chain of %.1f at %s entries; %s", chain(at, s.Buckets), Number(at), st.Now.figures()), now)
}

// chainsTooLong reports whether more buckets are the remedy for what is seen now.
func (st *State) chainsTooLong(count int, s *Snapshot, c *Config) bool {
	switch st.Now.Cause {
	case HashChains:
		return true
	case TableFull, TableFilling:
		return chain(count, s.Buckets) >= c.GrowBuckets.Chain
	}
	return false
}

// future is the count that the table may come to hold by raises like the present
// one. It rests on the slow estimate of the fill rate, because buckets are not
// taken back.
func (st *State) future(s *Snapshot, c *Config) int {
	return max(s.Count, min(wantMax(s, c, st.Now.slowRate), c.RaiseMax.Ceiling, affordable(s, c)))
}

// chain is the mean hash chain length: each entry is hashed by both its tuples.
func chain(count, buckets int) float64 {
	if buckets <= 0 {
		return 0
	}
	return 2 * float64(count) / float64(buckets)
}

// grewIn reports whether this phase of the episode has had its growth.
func (st *State) grewIn(s *Snapshot) bool {
	for _, c := range s.Changes {
		if c.Measure == GrowBuckets && c.State != Failed && st.thisPhase(c) {
			return true
		}
	}
	return false
}

// sizeBuckets doubles or goes as far as one bucket an entry, a mean chain of two,
// and cuts that to the bounds.
func sizeBuckets(s *Snapshot, c *Config, future int) (to int, bound string) {
	to = (max(2*s.Buckets, future) + bucketUnit - 1) / bucketUnit * bucketUnit
	if limit := c.GrowBuckets.Ceiling / bucketUnit * bucketUnit; limit < to {
		to, bound = limit, "the approved ceiling is "+Number(c.GrowBuckets.Ceiling)
	}
	budget := int64(float64(s.MemAvailable) * c.Memory.Budget)
	if limit := budget / bucketBytes / bucketUnit * bucketUnit; limit < int64(to) {
		to, bound = int(limit), fmt.Sprintf("the memory budget is %s of %s MiB available", Percent(c.Memory.Budget), Number(int(s.MemAvailable>>20)))
	}
	return to, bound
}

// shrinkBuckets takes a growth back, if asked to, in calm only: it stalls packets.
func (st *State) shrinkBuckets(s *Snapshot, c *Config, now time.Duration) []Decision {
	open := stack(s, GrowBuckets)
	if !c.GrowBuckets.Shrink || len(open) == 0 || drifting(s, GrowBuckets, s.Buckets) {
		return nil
	}
	well := func(ch Change) bool { return st.Now.Cause == None && s.Count <= ch.Before }
	ch, ok := st.deepest(open, c.GrowBuckets.Hold, now, well)
	if !ok {
		return nil
	}
	return st.undo(ch, s.Buckets, fmt.Sprintf("%s entries, a mean chain of at most 2 in %s buckets for %s",
		Number(s.Count), Number(ch.Before), Span(c.GrowBuckets.Hold)))
}
