package policy

import "time"

// State is what the policy carries from one snapshot to the next. Its zero value
// is a start that knows nothing; what must outlive the daemon is in
// Snapshot.Changes. A State is a plain value: copying it copies everything.
type State struct {
	Now     Assessment // of the newest snapshot
	Episode Episode

	begun   time.Duration // boot clock at the first snapshot, 0 before it
	history history
	calm    [measures][levels]calm
	checks  [levels]check
}

// Decide takes the next step: what the snapshot means, and what to do about it.
// The time is the boot clock. At most one act or undo of each measure comes of
// one snapshot.
func Decide(st State, s Snapshot, c Config, now time.Duration) (State, []Decision) {
	if st.begun == 0 {
		st.begun = now
		st.resume(&s, &c, now)
	}
	st.history.push(&s, c.Watch.Window, now)
	st.Now = assess(&st.history, &s, &c, now)

	var out []Decision
	if c.Mode > Off {
		out = st.follow(&s, &c, now)
	}
	out = append(out, st.yield(&s, &c)...)
	out = append(out, st.judge(&s, &c, now)...)
	// Room first: it costs nothing, while a resize of the buckets stalls packets.
	room := st.raiseMax(&s, &c, now)
	out = append(out, room...)
	out = append(out, st.growBuckets(&s, &c, now, does(room))...)
	return st, out
}

func does(ds []Decision) bool { return len(ds) == 1 && ds[0].Verb == Do }

// decision starts a Decision with what all have in common.
func (st *State) decision(v Verb, reason string) Decision {
	return Decision{
		Verb: v, Reason: reason, Cause: st.Episode.Cause, Episode: st.Episode.Name,
		Utilization: st.Now.Utilization, FillRate: st.Now.FillRate, TimeToFull: st.Now.TimeToFull,
	}
}
