package policy

import "time"

// An Episode is one stretch of trouble, from the first sign until the table has
// been calm for Watch.Calm.
type Episode struct {
	Name  string        // wall-clock time of its beginning, empty when there is none
	Since time.Duration // boot clock at its beginning
	Cause Cause         // the newest cause named

	trouble time.Duration // boot clock at the newest sign of trouble
	named   time.Duration // boot clock when Cause was named
	said    said
}

// said remembers what has been reported in this episode, so that each is
// reported once and not at every reading.
type said struct {
	advised [measures]bool
	bounded [measures]bool
}

// measures is how many there are.
const measures = 2

// slot is the measure's index in what the State keeps by measure.
func (m Measure) slot() int {
	if m == GrowBuckets {
		return 1
	}
	return 0
}

// follow opens, keeps or closes the episode. Trouble begins with a cause; it is
// over when none has been seen for Calm and the table is under the low mark.
func (st *State) follow(s *Snapshot, c *Config, now time.Duration) []Decision {
	e, a := &st.Episode, &st.Now
	var out []Decision
	switch {
	case a.Cause != None && e.Name == "":
		name, reason := st.name(s, c, now)
		*e = Episode{Name: name, Since: now, Cause: a.Cause, named: now}
		out = append(out, st.decision(Open, reason+a.Evidence()))
	case a.Cause == None && e.Name != "" && now-e.trouble >= c.Watch.Calm && a.Utilization < c.Watch.Low:
		d := st.decision(Close, "calm for "+Span(now-e.trouble)+" after "+Span(now-e.Since)+" of trouble")
		*e = Episode{}
		return append(out, d)
	}
	if a.Cause == None {
		return out
	}
	e.trouble = now
	if st.renames(c, now) {
		e.Cause, e.named = a.Cause, now
		out = append(out, st.decision(Diagnose, a.Evidence()))
	}
	return out
}

// renames reports whether the episode's cause is now another. A filling table may
// turn into anything at once. Other causes stay for the window that shows them,
// and what was full is not called filling before it is under the high mark: a
// count that swings around a mark makes no journal line at each swing.
func (st *State) renames(c *Config, now time.Duration) bool {
	e, a := &st.Episode, &st.Now
	switch {
	case a.Cause == e.Cause:
		return false
	case e.Cause == TableFilling:
		return true
	case e.Cause == TableFull && a.Cause == TableFilling && a.Utilization >= c.Watch.High:
		return false
	}
	return now-e.named >= c.Watch.Window
}

// name of a new episode. Trouble found soon after a start takes up the name that
// open changes carry: it is the same trouble, seen by a daemon that was restarted.
func (st *State) name(s *Snapshot, c *Config, now time.Duration) (name, reason string) {
	resumed := st.resumed
	st.resumed = ""
	if resumed != "" && now-st.begun <= c.Watch.Calm {
		return resumed, "trouble goes on after a restart: "
	}
	return s.Wall.UTC().Format("20060102T150405Z"), "trouble begins: "
}
