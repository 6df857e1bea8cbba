package policy

import (
	"net/netip"
	"time"
)

// State is what the policy carries from one snapshot to the next. Its zero value
// is a start that knows nothing; what must outlive the daemon is in
// Snapshot.Changes. A State is a plain value: copying it copies everything.
type State struct {
	Now      Assessment // of the newest snapshot
	Episode  Episode
	Baseline Baseline // the daemon keeps it over a restart
	// Advice is what was wanted and not done, lately.
	Advice [maxAdvice]Advice

	begun   time.Duration // boot clock at the first snapshot, 0 before it
	resumed Episode       // of changes found open then, until it is taken up
	history history
	unsure  bool // an undo waits for a census
	// timeouts are those of the snapshot before, and kept until when one is left alone.
	timeouts [Timeouts]int
	kept     [Timeouts]time.Duration
	learned  time.Duration // boot clock of the reading that Baseline learned last
	calm     [measures][levels]calm
	checks   [levels]check
	leases   [maxLeases]calm // those in force first
	ranked   time.Duration   // when the census was begun that was last asked for offenders
	asked    time.Duration   // when it was asked
	acts     acts            // at the newest reading
	paused   bool            // at the newest reading: nothing is taken back but what the policy forbids
	rush     time.Duration   // a census begun after it is wanted at once, 0 for none
	pruned   time.Duration   // when the census was begun that last had entries of a source deleted
	// fast are the sources that made connections steadily then.
	fast [MaxLimited]netip.Prefix
	hog  netip.Prefix // the source that held most of the table then, if any did
}

// Decide takes the next step: what the snapshot means, and what to do about it.
// The time is the boot clock. At most one act or undo of each measure comes of
// one snapshot, of those that are leases one of each source and flow.
func Decide(st State, s Snapshot, c Config, now time.Duration) (State, []Decision) {
	if st.begun == 0 {
		st.begun = now
		st.remember(&s, &c, now)
	}
	if st.history.readings > 0 && now-st.history.prev.at > c.Watch.Window {
		st.wake(now)
	}
	st.history.push(&s, c.Watch.Window, now)
	st.heed(&s, now)
	st.acts, st.rush, st.paused = actsOf(&s, &c, now), st.hurry(&s), s.Paused != ""
	st.Now, st.unsure = assess(&st.history, &s, &c, now), false
	st.explain(&s, &c, now)
	st.reopen(&s)
	st.learn(&s, &c, now)

	var out []Decision
	if c.Mode > Off {
		out = st.follow(&s, &c, now)
	} else {
		st.Episode = Episode{}
	}
	out = append(out, st.yield(&s, &c)...)
	out = append(out, st.judge(&s, &c, now)...)
	// Room first: it costs nothing, while a resize of the buckets stalls packets.
	limit := s.Max
	for _, d := range st.raiseMax(&s, &c, now) {
		out = append(out, d)
		if d.Verb == Do {
			limit = d.To
		}
	}
	out = append(out, st.growBuckets(&s, &c, now, limit)...)
	out = append(out, st.shortenTimeouts(&s, &c, now, limit)...)
	st.tidy(&s)
	out = append(out, st.limitSource(&s, &c, now)...)
	return st, append(out, st.bypass(&s, &c, now)...)
}

// learn adds the reading to the baseline, for the time since the one before.
func (st *State) learn(s *Snapshot, c *Config, now time.Duration) {
	if span := now - st.learned; span > 0 && span <= c.Watch.Window {
		st.Baseline.learn(s.Count, st.Now.slowRate, span)
	}
	st.learned = now
}

// wake starts every clock again after a time without readings: the machine was
// suspended, or the kernel could not be read. What was not seen was not calm.
func (st *State) wake(now time.Duration) {
	st.calm = [measures][levels]calm{}
	st.checks = [levels]check{}
	st.leases = [maxLeases]calm{}
	st.Episode.trouble = now
}

// decision starts a Decision with what all have in common.
func (st *State) decision(v Verb, reason string) Decision {
	return Decision{
		Verb: v, Reason: reason,
		Episode: st.Episode.Name, Cause: st.Episode.Cause, Pattern: st.Episode.Pattern, Confidence: st.Episode.Confidence,
		Utilization: st.Now.Utilization, FillRate: st.Now.FillRate, TimeToFull: st.Now.TimeToFull,
	}
}

// about makes it a decision about a change. One of an episode that is over has
// nothing to do with what is seen now.
func (d Decision) about(ch Change) Decision {
	d.Measure, d.Change = ch.Measure, ch.ID
	if ch.Episode != d.Episode {
		d.Episode, d.Cause, d.Pattern, d.Confidence = ch.Episode, ch.Cause, NoPattern, 0
	}
	return d
}
