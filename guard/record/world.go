package record

import (
	"math"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// lasting is how long an entry lasts that the recorded table refused and another would
	// have taken: as long as the kernel keeps a half-open or a closing connection
	// (tcp_timeouts, nf_conntrack_proto_tcp.c).
	lasting = 120 * time.Second
	// full is the utilization from which a lone drop means a full table, as the policy has
	// it.
	full = 0.95
)

// A world is what a gateway would be like after other acts than the recorded ones.
type world struct {
	s       policy.Snapshot // the kernel's values, and what was last seen
	changes []policy.Change
	newest  int     // largest id seen
	extra   float64 // entries that the recorded table refused and this one took
	over    int     // entries that find no room

	before  policy.Snapshot   // as recorded
	decided []policy.Decision // then
	at      time.Duration
}

// newWorld is the recorded one at a step, before anything is done.
func newWorld(st *Step) *world {
	w := &world{s: st.Snapshot, changes: slices.Clone(st.Snapshot.Changes)}
	for _, ch := range w.changes {
		w.newest = max(w.newest, ch.ID)
	}
	return w
}

// remember keeps what was recorded, which the next is compared with.
func (w *world) remember(st *Step) {
	w.before, w.decided, w.at = st.Snapshot, st.Decisions, st.Now
	for _, ch := range st.Snapshot.Changes {
		w.newest = max(w.newest, ch.ID)
	}
}

// see is the snapshot of this world at a recorded step.
func (w *world) see(st *Step, c *policy.Config) policy.Snapshot {
	w.rivals(&st.Snapshot)
	s := st.Snapshot
	s.Max, s.Buckets, s.Timeouts = w.s.Max, w.s.Buckets, w.s.Timeouts
	w.hold(&s, &st.Snapshot, st.Now-w.at)
	s.MemAvailable += int64(c.Memory.EntryBytes) * int64(st.Snapshot.Count-s.Count)
	w.walks(st.Snapshot.Changes)
	s.Changes = slices.Clone(w.changes)
	s.Leases = w.leases(&st.Snapshot)
	w.s = s
	return s
}

// rivals has somebody else write here what somebody else wrote in the record: what no
// change of the record explains.
func (w *world) rivals(s *policy.Snapshot) {
	if s.Max != w.before.Max && !w.explained(s, policy.RaiseMax, s.Max) {
		w.s.Max = s.Max
	}
	if s.Buckets != w.before.Buckets && !w.explained(s, policy.GrowBuckets, s.Buckets) {
		w.s.Buckets = s.Buckets
	}
	for t := range s.Timeouts {
		if s.Timeouts[t] != w.before.Timeouts[t] && !timeoutExplained(s, policy.Timeout(t)) {
			w.s.Timeouts[t] = s.Timeouts[t]
		}
	}
}

// explained reports whether a recorded change has made a value, or what was decided.
func (w *world) explained(s *policy.Snapshot, m policy.Measure, value int) bool {
	return slices.ContainsFunc(w.decided, func(d policy.Decision) bool {
		return d.Measure == m && (d.Verb == policy.Do || d.Verb == policy.Undo) && d.To == value
	}) || slices.ContainsFunc(s.Changes, func(ch policy.Change) bool {
		return ch.Measure == m && !slices.Contains(w.before.Changes, ch) &&
			(ch.State == policy.Applied && ch.After == value || ch.State == policy.Undone && ch.Before == value)
	})
}

func timeoutExplained(s *policy.Snapshot, t policy.Timeout) bool {
	return slices.ContainsFunc(s.Changes, func(ch policy.Change) bool {
		e := ch.Timeouts[t]
		return ch.State == policy.Applied && e.After == s.Timeouts[t] || ch.State != policy.Applied && e.Before == s.Timeouts[t]
	})
}

// hold fills in how many entries the table holds and what it refuses. The recorded table
// had those there were; what it refused, a larger one takes, and what is over a smaller
// one is refused.
func (w *world) hold(s, was *policy.Snapshot, span time.Duration) {
	refused := refusals(was, &w.before)
	w.extra *= math.Exp(-span.Seconds() / lasting.Seconds())
	if was.Count < w.before.Count { // what leaves the one leaves the other
		w.extra *= float64(was.Count) / float64(w.before.Count)
	}
	admitted := 0
	if s.Max == 0 || s.Max > max(was.Max, w.before.Max) && was.Max > 0 {
		admitted = min(int(refused), max(roomIn(s.Max)-was.Count-int(w.extra), 0))
	}
	w.extra += float64(admitted)
	demand := was.Count + int(w.extra)
	s.Count = min(demand, roomIn(s.Max))
	over := demand - s.Count
	s.Losses = withoutFull(was.Losses, refused)
	s.Losses.Drop += refused - uint64(admitted) + uint64(max(over-w.over, 0))
	w.over = over
}

// roomIn is how many entries a limit allows.
func roomIn(limit int) int {
	if limit <= 0 {
		return math.MaxInt32
	}
	return limit
}

// refusals are the connections that a recorded table lost because it was full, in the
// interval that ends with s.
func refusals(s, before *policy.Snapshot) uint64 {
	if max(s.Utilization(), before.Utilization()) < full {
		return s.Losses.EarlyDrop
	}
	return loneDrops(s.Losses) + s.Losses.EarlyDrop
}

// loneDrops are those that no failed insertion goes with.
func loneDrops(c policy.Counters) uint64 {
	return c.Drop - min(c.Drop, c.InsertFailed-min(c.ChainTooLong, c.InsertFailed))
}

// withoutFull takes off what was lost to a full table.
func withoutFull(c policy.Counters, refused uint64) policy.Counters {
	refused -= min(refused, c.EarlyDrop)
	c.EarlyDrop = 0
	c.Drop -= min(c.Drop, refused)
	return c
}

// walks takes over how far the walk for a change has come where the record has the same
// change.
func (w *world) walks(recorded []policy.Change) {
	for i := range w.changes {
		ch := &w.changes[i]
		if ch.Measure != policy.ShortenTimeouts || ch.State != policy.Applied {
			continue
		}
		for _, r := range recorded {
			if r.Measure == ch.Measure && r.Timeouts == ch.Timeouts && r.State == policy.Applied {
				ch.Walk = r.Walk
			}
		}
	}
}

// leases takes over what the recorded leases of the same sources refuse. Of others it is
// not known.
func (w *world) leases(s *policy.Snapshot) (list []policy.Lease) {
	for _, ch := range w.changes {
		if ch.State != policy.Applied || ch.Measure != policy.LimitSource {
			continue
		}
		for _, r := range s.Changes {
			same := r.State == policy.Applied && r.Measure == ch.Measure && r.Terms.Source == ch.Terms.Source && r.After == ch.After
			if refused, known := refusedBy(s, r.ID); same && known {
				list = append(list, policy.Lease{Change: ch.ID, Refused: refused})
				break
			}
		}
	}
	return list
}

func refusedBy(s *policy.Snapshot, change int) (float64, bool) {
	for _, l := range s.Leases {
		if l.Change == change {
			return l.Refused, true
		}
	}
	return 0, false
}
