package page

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Report is what is told of an episode. Times are of the wall clock as it was when
// the record begins, carried on by the boot clock: nobody's setting of the clock
// changes the order of things.
type Report struct {
	ID    string    `json:"id"`
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended,omitzero"` // zero while it goes on
	Last  time.Time `json:"last"`           // the newest reading

	// Diagnoses are what it was taken for, oldest first.
	Diagnoses []Diagnosis `json:"diagnoses"`

	Peak    Peak    `json:"peak"`
	Fastest Fastest `json:"fastest"`
	// Losses count each once. Counters are what the kernel counted, where one loss may
	// show twice.
	Losses   Losses          `json:"losses"`
	Counters policy.Counters `json:"counters"`

	Changes []Change `json:"changes"`
	Advice  []Advice `json:"advice,omitempty"`
	Census  *Census  `json:"census,omitempty"`
	// Values are kernel values that differ between the beginning and the end.
	Values []Value `json:"values,omitempty"`
	// Kept is how many kernel values were recorded and are as they were.
	Kept   int     `json:"values_kept"`
	Events []Event `json:"events"`
	// Unlisted is how many more events there were than are listed.
	Unlisted int   `json:"events_unlisted,omitempty"`
	Gaps     []Gap `json:"gaps,omitempty"`
	// Policy is what was in force when the episode began, for people.
	Policy []string `json:"policy"`
	// Broken is why a part of the record could not be read, empty when all could.
	Broken string `json:"broken,omitempty"`
	// Readings are reduced to about a thousand.
	Readings []Reading `json:"readings"`

	opened, closed time.Duration // since the first reading
	troubled       time.Duration // the newest sign of trouble
	last           time.Duration
	origin         time.Time // of the first reading
	watch          policy.Watch
	ceiling        int // of raise-max, 0 where it is off
	series         series
}

// Open reports whether the episode goes on, as far as the record tells.
func (r *Report) Open() bool { return r.Ended.IsZero() }

// Lasted is the time from its beginning to its end, or to the newest reading.
func (r *Report) Lasted() time.Duration { return r.closed - r.opened }

// wall is the time of the wall clock at an offset.
func (r *Report) wall(at time.Duration) time.Time { return r.origin.Add(at) }

// Done and Undone count the changes that the episode has made, and those of them that
// have been taken back.
func (r *Report) Done() (done, undone int) {
	for _, c := range r.Changes {
		if c.Earlier || c.State == policy.Failed {
			continue
		}
		done++
		if c.State == policy.Undone {
			undone++
		}
	}
	return done, undone
}

// A Diagnosis is what the trouble was taken for.
type Diagnosis struct {
	At         time.Time      `json:"at"`
	Cause      policy.Cause   `json:"cause"`
	Pattern    policy.Pattern `json:"pattern,omitempty"`
	Confidence float64        `json:"confidence"`
	Evidence   string         `json:"evidence"`

	at time.Duration
}

// Peak is the reading of the highest utilization, or where the kernel keeps no limit
// of the most entries.
type Peak struct {
	At          time.Time `json:"at"`
	Count       int       `json:"count"`
	Max         int       `json:"max"`
	Utilization float64   `json:"utilization"`

	at time.Duration
}

// Fastest is the greatest growth between two readings.
type Fastest struct {
	At   time.Time `json:"at,omitzero"`
	Rate float64   `json:"rate"` // entries per second
}

// A Change is one that was in force during the episode, or was tried.
type Change struct {
	ID         int                `json:"id"`
	Measure    policy.Measure     `json:"measure"`
	What       string             `json:"what"`
	Reason     string             `json:"reason,omitempty"`
	ApprovedBy string             `json:"approved_by,omitempty"`
	Made       time.Time          `json:"made"`
	State      policy.ChangeState `json:"state"`
	Since      time.Time          `json:"since"` // in that state
	Ended      string             `json:"ended,omitempty"`
	Outcome    policy.Outcome     `json:"outcome,omitempty"`
	Judged     string             `json:"judged,omitempty"`
	Effect     *Effect            `json:"effect,omitempty"`
	Walk       string             `json:"walk,omitempty"` // what came of existing entries
	// Earlier is that it was not made in this episode.
	Earlier bool `json:"earlier,omitempty"`

	source      string // of a limit
	made, since time.Duration
}

// Effect is what was seen in the window before a change and after it.
type Effect struct {
	Span       float64 `json:"span"` // seconds each
	LostBefore uint64  `json:"lost_before"`
	LostAfter  uint64  `json:"lost_after"`
	// Before is the utilization at the change, After that at the end of the span.
	Before float64 `json:"utilization_before"`
	After  float64 `json:"utilization_after"`
}

// Advice is what would have been done.
type Advice struct {
	At       time.Time      `json:"at"`
	ID       string         `json:"id,omitempty"`
	Measure  policy.Measure `json:"measure"`
	What     string         `json:"what"`
	Reason   string         `json:"reason"`
	Observed bool           `json:"observed,omitempty"` // in mode observe

	at time.Duration
}

// Census is who and what filled the table when it was fullest.
type Census struct {
	At      time.Time `json:"at"`
	Read    int       `json:"read"`
	Table   int       `json:"table"`
	Kinds   []Kind    `json:"kinds,omitempty"`
	Sources []Source  `json:"sources,omitempty"`
	Pool    string    `json:"pool,omitempty"` // the fullest set of source ports
	Counted bool      `json:"counted"`        // Source.New counts connections, not entries
}

// A Kind is a kind of entries and what share of the table it had.
type Kind struct {
	Name  string       `json:"name"`
	Share policy.Share `json:"share"`
}

// A Source is one that held much of the table.
type Source struct {
	Name    string       `json:"name"`
	Share   policy.Share `json:"share"`
	Entries int          `json:"entries"`
	New     float64      `json:"new"`               // a second
	Changes []int        `json:"changes,omitempty"` // that were about it
}

// A Value is a kernel value that differs.
type Value struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// An Event is a line of the account.
type Event struct {
	At   time.Time   `json:"at"`
	Verb policy.Verb `json:"verb,omitempty"`
	Text string      `json:"text"`
}

// A Gap is a time without readings.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Why  string    `json:"why,omitempty"`
}

// A Reading is one, or several that lie close together.
type Reading struct {
	At   time.Time `json:"at"`
	Low  int       `json:"count_low"`
	High int       `json:"count_high"`
	Max  int       `json:"max"`         // at the last of them
	Used float64   `json:"utilization"` // the highest
	Lost uint64    `json:"lost"`
}
