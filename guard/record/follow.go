package record

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// leadOut is how much of what comes after an episode is kept of it at least.
	leadOut = time.Minute
	// aftermath is for how long it is kept at most how the changes of an episode are
	// taken back after it.
	aftermath = time.Hour
)

// A summary is what is said of an episode where many are listed.
type summary struct {
	ID      string
	Begun   time.Time
	Ended   time.Time `json:",omitzero"`
	Cause   policy.Cause
	Pattern policy.Pattern
	Peak    float64 // utilization
	Lost    uint64  // connections
	Done    int     // changes
	Undone  int

	// First is the segment that the file begins with, and Complete that nothing is to be
	// added to it.
	First    uint64
	Complete bool
	Boot     string `json:",omitempty"` // of the kernel
	// At is the boot clock of the newest reading that is in it, and EndedAt that of its end.
	At, EndedAt time.Duration
	Seen        time.Time // wall clock of the newest reading
	// Newest and Since are up to which id, and until when undone, changes are counted.
	Newest int
	Since  time.Duration
}

// startSummary begins the summary of an episode that is seen at a reading.
func startSummary(id string, s *policy.Snapshot, now time.Duration) summary {
	wall := s.Wall.UTC().Round(0)
	return summary{ID: id, Begun: wall, Seen: wall, At: now - 1}
}

// newestOf is the largest id of some changes.
func newestOf(changes []policy.Change) (id int) {
	for i := range changes {
		id = max(id, changes[i].ID)
	}
	return id
}

// add takes in a reading and what was decided.
func (u *summary) add(s *policy.Snapshot, now time.Duration, ds []policy.Decision) {
	u.At, u.Seen = now, s.Wall.UTC().Round(0)
	u.addChanges(s.Changes)
	if !u.Ended.IsZero() {
		return
	}
	u.Peak, u.Lost = max(u.Peak, s.Utilization()), u.Lost+Lost(s.Losses)
	for i := range ds {
		switch d := &ds[i]; d.Verb {
		case policy.Open, policy.Diagnose:
			u.Cause, u.Pattern = d.Cause, d.Pattern
		case policy.Close:
			u.end()
		}
	}
}

// end ends the episode at its newest reading.
func (u *summary) end() {
	if u.Ended.IsZero() {
		u.Ended, u.EndedAt = u.Seen, u.At
	}
}

// addChanges counts what was made and taken back since the reading before.
func (u *summary) addChanges(changes []policy.Change) {
	newest, since := u.Newest, u.Since
	for i := range changes {
		ch := &changes[i]
		if ch.Episode != u.ID {
			continue
		}
		if ch.ID > u.Newest && ch.State != policy.Failed {
			u.Done++
		}
		if ch.State == policy.Undone && ch.At > u.Since {
			u.Undone++
			since = max(since, ch.At)
		}
		newest = max(newest, ch.ID)
	}
	u.Newest, u.Since = newest, since
}

// over reports whether nothing of an episode that has ended is of interest any more.
func (u *summary) over(s *policy.Snapshot, now time.Duration) bool {
	if u.Ended.IsZero() || now-u.EndedAt < leadOut {
		return false
	}
	for i := range s.Changes {
		if ch := &s.Changes[i]; ch.Episode == u.ID && ch.State == policy.Applied && now-u.EndedAt < aftermath {
			return false
		}
	}
	return true
}

// plus adds what came of the episode after a restart.
func (u summary) plus(o summary) summary {
	o.Begun, o.First = u.Begun, u.First
	o.Peak, o.Lost = max(u.Peak, o.Peak), u.Lost+o.Lost
	o.Done, o.Undone = u.Done+o.Done, u.Undone+o.Undone
	if o.Cause == policy.None {
		o.Cause, o.Pattern = u.Cause, u.Pattern
	}
	return o
}

// follow begins and ends what is recorded of an episode. One that is taken up after a
// restart opens without a decision, and one ends without where the policy is off.
func (r *Recorder) follow(before *policy.State, s *policy.Snapshot, now time.Duration, ds []policy.Decision) {
	if r.last == 0 {
		r.known, r.last = newestOf(s.Changes), now
	}
	defer func() { r.known = newestOf(s.Changes) }()
	id, since, said := before.Episode.Name, before.Episode.Since, false
	for i := range ds {
		switch ds[i].Verb {
		case policy.Open:
			id, since, said = ds[i].Episode, now, true
		case policy.Close:
			said = true
		}
	}
	u := &r.episode
	switch {
	case id != "" && id != u.ID:
		begun := startSummary(id, s, now)
		begun.Boot = r.o.Boot
		begun.Cause, begun.Pattern = before.Episode.Cause, before.Episode.Pattern
		begun.Begun = begun.Begun.Add(since - now)
		r.start(begun, since)
	case id == "" && !said && u.ID != "" && u.Ended.IsZero():
		u.end()
		r.close()
		return
	case u.ID == "":
		return
	}
	open := u.Ended.IsZero()
	u.add(s, now, ds)
	if open && !u.Ended.IsZero() {
		sum, values := *u, r.values()
		r.then(func(w *writer) error { w.note(sum, lastValues, values); return nil })
	}
	if u.over(s, now) {
		r.close()
	}
}

// start begins an episode's file. What is written of one before ends. Changes that were
// known at the reading before are no news, since an episode that goes on is seen one
// reading after it does; of one that an earlier run has left, those that it has counted.
func (r *Recorder) start(u summary, since time.Duration) {
	if r.episode.ID != "" {
		r.close()
	}
	if u.Newest, u.Since = r.known, r.last; u.ID == r.left.ID && u.Boot == r.left.Boot {
		u.Newest, u.Since = r.left.Newest, r.left.Since
		r.left = summary{}
	}
	r.episode = u
	values := r.values()
	r.then(func(w *writer) error { w.open(u, since, values); return nil })
}

// values are those of sysctls now, before anything that was decided is done.
func (r *Recorder) values() map[string]string {
	if r.o.Values == nil {
		return nil
	}
	return r.o.Values()
}

// close ends an episode's file with the segment that is being written.
func (r *Recorder) close() {
	sum := r.episode
	r.then(func(w *writer) error { w.closeEpisode(sum); return nil })
	r.episode, r.open = summary{}, false
}
