package policy

import "time"

// An Episode is one stretch of trouble, from the first sign until the table has
// been calm for Watch.Calm.
type Episode struct {
	Name  string        // wall-clock time of its beginning, empty when there is none
	Since time.Duration // boot clock at its beginning
	Cause Cause         // the newest cause named
	// Pattern is the newest named with it, and Confidence that in the two.
	Pattern    Pattern
	Confidence float64

	trouble  time.Duration    // boot clock at the newest sign of trouble
	named    time.Duration    // boot clock when Cause was named
	causes   several[Cause]   // named so far
	shaped   time.Duration    // boot clock when Pattern was named
	patterns several[Pattern] // named so far
	census   bool             // one has been reported
	losing   bool             // losses have been reported
	phase    time.Duration    // boot clock since when what is done or said once has not been
	said     said
}

// said remembers what has been reported in this phase of the episode, so that
// each is reported once and not at every reading.
type said struct {
	bounded [measures]bool
	ranked  uint64 // the offenders last listed, hashed
}

// measures is how many there are.
const measures = 5

// slot is the measure's index in what the State keeps by measure.
func (m Measure) slot() int {
	switch m {
	case GrowBuckets:
		return 1
	case ShortenTimeouts:
		return 2
	case LimitSource:
		return 3
	case Bypass:
		return 4
	}
	return 0
}

// lull is how many times Watch.Calm without trouble end an episode even near the
// high mark, and how many must pass before a cause is named again in it.
const lull = 6

// follow opens, keeps or closes the episode. Trouble begins with a cause; it is
// over when none has been seen for Calm and the table is well under the high
// mark, or for much longer than Calm.
func (st *State) follow(s *Snapshot, c *Config, now time.Duration) []Decision {
	e, a := &st.Episode, &st.Now
	quiet := now - e.trouble
	switch {
	case a.Cause != None && e.Name == "":
		if st.resumes(c, now) {
			break
		}
		*e = Episode{Name: s.Wall.UTC().Format("20060102T150405Z"), Since: now, phase: now, trouble: now}
		e.rename(a, now)
		e.losing = a.Losing()
		return []Decision{st.decision(Open, a.Evidence())}
	case a.Cause == None && e.Name != "" && (quiet >= c.Watch.Calm && a.Utilization < middle(c) || quiet >= lull*c.Watch.Calm):
		d := st.decision(Close, "calm for "+Span(quiet)+" after "+Span(e.trouble-e.Since)+" of trouble")
		*e = Episode{}
		return []Decision{d}
	case a.Cause == None:
		if st.awaitsCensus() && st.hasCensus() {
			return st.tell(now)
		}
		return nil
	}
	e.trouble = now
	switch {
	case st.renames(c, now):
		e.rename(a, now)
	case a.Cause != e.Cause && !(a.Cause.ofTable() && e.Cause.ofTable()):
		return nil
	case !st.reshapes(c, now) && !(st.awaitsCensus() && st.hasCensus()) && (e.losing || !a.Losing()):
		return nil
	}
	return st.tell(now)
}

// Losing reports whether the cause has cost connections, not only might.
func (a *Assessment) Losing() bool { return a.lost.explains(a.Cause) > 0 }

// Lost is what the kernel counted within the window that is looked back on.
func (a *Assessment) Lost() (Counters, time.Duration) { return a.counters, a.window }

// tell reports what is known of the episode now.
func (st *State) tell(now time.Duration) []Decision {
	e, a := &st.Episode, &st.Now
	if a.Pattern != NoPattern {
		e.reshape(a, now)
	}
	e.losing, e.census = e.losing || a.Losing(), e.census || st.hasCensus()
	return []Decision{st.decision(Diagnose, a.Evidence())}
}

// middle is halfway between the marks.
func middle(c *Config) float64 { return (c.Watch.Low + c.Watch.High) / 2 }

// roomAgain is the utilization under which a table that was full is only filling.
const roomAgain = nearFull - 0.05

// renames reports whether the episode's cause is now another. A filling table may
// turn into anything at once; other causes stay for the window that shows them;
// and what was named before is not named again until much later. A table that
// swings between two causes makes no journal line at each swing.
func (st *State) renames(c *Config, now time.Duration) bool {
	e, a := &st.Episode, &st.Now
	since := now - e.named
	switch {
	case a.Cause == e.Cause, e.Cause == TableFull && a.Cause == TableFilling && a.Utilization >= roomAgain:
		return false
	case e.causes.has(a.Cause):
		return since >= lull*c.Watch.Calm
	}
	return e.Cause == TableFilling || since >= c.Watch.Window
}

// reshapes reports whether the episode's pattern is now another. One that was named
// before is not named again until much later, and none is no news.
func (st *State) reshapes(c *Config, now time.Duration) bool {
	e, a := &st.Episode, &st.Now
	if a.Pattern == NoPattern || a.Pattern == e.Pattern {
		return false
	}
	return e.Pattern == NoPattern || !e.patterns.has(a.Pattern) || now-e.shaped >= lull*c.Watch.Calm
}

// reshape names a pattern.
func (e *Episode) reshape(a *Assessment, now time.Duration) {
	if a.Pattern != e.Pattern {
		e.shaped = now
	}
	e.Pattern, e.Confidence = a.Pattern, a.Confidence
	if a.Pattern != NoPattern {
		e.patterns.add(a.Pattern)
	}
}

// aftermath is how long what a spike has left may fill the table.
const aftermath = 24 * time.Hour

// persists reports whether the pattern that was named holds although nothing seen
// now speaks for it: what would is in a census that has grown old, or a spike has
// filled the table and not gone yet.
func (e *Episode) persists(a *Assessment, now time.Duration) bool {
	return e.census && a.Census.At == 0 || e.Pattern == Spike && now-e.shaped < aftermath
}

// rename names a cause. One that comes back after a lull begins a new phase: an
// episode can last for days on a small steady loss, and what was advised, grown or
// found useless in yesterday's flood says nothing of today's.
func (e *Episode) rename(a *Assessment, now time.Duration) {
	if e.causes.has(a.Cause) {
		e.phase, e.said = now, said{}
	}
	e.Cause, e.named = a.Cause, now
	e.causes.add(a.Cause)
	e.reshape(a, now)
}

// thisPhase reports whether a change belongs to the present phase of the episode.
func (st *State) thisPhase(c Change) bool {
	return c.Episode == st.Episode.Name && c.Made >= st.Episode.phase
}

// remember keeps the episode of changes that were found open at the start, if
// they are recent. All of them count as of one phase: too much is held back by
// that at worst, and nothing done twice.
func (st *State) remember(s *Snapshot, c *Config, now time.Duration) {
	for _, ch := range s.Changes {
		if ch.State == Applied && ch.Episode != "" && now-ch.At < c.RaiseMax.Hold {
			if st.resumed.Name != ch.Episode {
				st.resumed = Episode{Name: ch.Episode, Since: ch.At, phase: ch.At}
			}
			st.resumed.Cause, st.resumed.named = ch.Cause, ch.At
			st.resumed.causes.add(ch.Cause)
		}
	}
	for _, ch := range s.Changes {
		if e := &st.resumed; e.Name != "" && ch.Episode == e.Name {
			e.Since, e.phase = min(e.Since, ch.Made), min(e.phase, ch.Made)
		}
	}
}

// resumes takes up that episode when trouble is seen soon after the start: it is
// the same trouble, seen by a daemon that was restarted. Without trouble it is
// over, and nothing is said of it. Episodes without a change in force, as in mode
// advise, are not remembered: a restart in trouble begins a new one.
func (st *State) resumes(c *Config, now time.Duration) bool {
	if st.resumed.Name == "" || now-st.begun > c.Watch.Calm {
		return false
	}
	st.Episode, st.resumed = st.resumed, Episode{}
	return true
}

// Reconsider forgets what has been said in this episode, because the policy is
// another now.
func (st *State) Reconsider() {
	st.Episode.said = said{}
	for i := range st.Advice {
		st.Advice[i].said = false
	}
}
