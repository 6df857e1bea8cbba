package policy

import (
	"encoding/json"
	"time"
)

// Verb says what kind of decision it is.
type Verb string

// The verbs. Do, Undo and Yield change something or give it up; the others are
// only reported.
const (
	Open     Verb = "open"     // an episode begins, with its first cause
	Diagnose Verb = "diagnose" // its cause is now another
	Do       Verb = "do"       // take a measure
	Advised  Verb = "advise"   // the measure would be taken in mode act
	Observed Verb = "observe"  // likewise, recorded without advice
	Bounded  Verb = "bounded"  // a measure would go further, but its bounds end here
	Judge    Verb = "judge"    // a change's effect is known
	Undo     Verb = "undo"     // take a change back
	Yield    Verb = "yield"    // somebody else owns the value now: leave it and keep off
	Rank     Verb = "rank"     // who makes the trouble, in order, and what becomes of each
	Prune    Verb = "prune"    // delete what a limited source has in the table without a reply
	Close    Verb = "close"    // the episode is over
)

// Verbs lists every verb.
var Verbs = []Verb{Open, Diagnose, Do, Advised, Observed, Bounded, Judge, Undo, Yield, Rank, Prune, Close}

// A Decision is one thing to do or to report, with the numbers it rests on. It
// is the same record in every mode.
type Decision struct {
	Verb    Verb    `json:"verb"`
	Measure Measure `json:"measure,omitempty"`
	Cause   Cause   `json:"cause,omitempty"`
	Pattern Pattern `json:"pattern,omitempty"`
	// Confidence in the pattern, or in the cause where no pattern is named, 0–1.
	Confidence float64 `json:"confidence,omitempty"`
	Episode    string  `json:"episode,omitempty"`

	// From and To are the kernel's value now and as it shall be (Do, Undo, Advised,
	// Observed), or as it was found (Yield: our value, the value found).
	From int `json:"from,omitempty"`
	To   int `json:"to,omitempty"`

	// Timeouts are those to be changed, or found changed (ShortenTimeouts). From and To
	// are the levels then.
	Timeouts []TimeoutChange `json:"timeouts,omitempty"`

	// Terms are those of a lease (LimitSource, Bypass). From and To are levels then.
	Terms *Terms `json:"terms,omitempty"`

	// ID names what would be done (Do, Advised, Observed): the same in every mode and at
	// every reading of the same trouble. An operator approves advice by it.
	ID string `json:"id,omitempty"`
	// ApprovedBy is who approved it, empty where the policy did (Do).
	ApprovedBy string `json:"approved_by,omitempty"`

	Change int `json:"change,omitempty"` // id of the change judged, undone or yielded
	// Replaces is the id of the lease that is made again on other terms (Do).
	Replaces int `json:"replaces,omitempty"`

	Outcome Outcome `json:"outcome,omitempty"`
	Reason  string  `json:"reason"`

	Utilization float64       `json:"utilization"`
	FillRate    float64       `json:"fill_rate"`    // entries per second
	TimeToFull  time.Duration `json:"time_to_full"` // in JSON seconds, null for Never
}

// A TimeoutChange is what becomes of a timeout, in seconds.
type TimeoutChange struct {
	Name string `json:"name"` // the sysctl without nf_conntrack_
	From int    `json:"from"`
	To   int    `json:"to"`
}

// MarshalJSON writes the time to full as people and programs expect it.
func (d Decision) MarshalJSON() ([]byte, error) {
	type plain Decision
	return json.Marshal(struct {
		plain
		TimeToFull *float64 `json:"time_to_full"`
	}{plain(d), Seconds(d.TimeToFull)})
}

// Seconds is a time to full for JSON: nil for Never.
func Seconds(d time.Duration) *float64 {
	if d == Never {
		return nil
	}
	s := d.Seconds()
	return &s
}
