package control

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Minutes is how many of them Status.Hour has.
const Minutes = 60

// A Status is all that there is to know of the daemon and its table at one reading. Spans
// are seconds, rates per second, shares of 1, moments in wall-clock time; what is not
// known is null.
type Status struct {
	Version int       `json:"version"` // filled in by the server
	At      time.Time `json:"at"`      // of the newest reading; the daemon's start before the first
	Daemon  Process   `json:"daemon"`
	Mode    string    `json:"mode"` // of the policy: off, observe, advise, act
	Paused  *Paused   `json:"paused"`
	Policy  Policy    `json:"policy"`

	Blind  string `json:"blind,omitempty"`  // why there is no reading, empty while there is one
	Unable string `json:"unable,omitempty"` // why nothing can be changed, empty when it can
	Table  Table  `json:"table"`
	// Hour is the highest utilization within each of the last minutes, oldest first.
	Hour [Minutes]*float64 `json:"hour"`

	// What is seen now. The cause is empty without trouble.
	Cause      policy.Cause   `json:"cause,omitempty"`
	Pattern    policy.Pattern `json:"pattern,omitempty"`
	Confidence float64        `json:"confidence,omitempty"`
	Evidence   string         `json:"evidence,omitempty"` // as policy.Assessment.Evidence says it
	Losses     Losses         `json:"losses"`

	// The newest episode that is not over; its cause may be older than what is seen now.
	Episode *Episode `json:"episode"`

	Advice  []Advice  `json:"advice"`  // not done, of this episode, oldest first
	Active  []Active  `json:"active"`  // in force, oldest first
	Yielded []Yielded `json:"yielded"` // given up or rolled back, while the guardian keeps off
	Recent  []Act     `json:"recent"`  // the last ten changes of the ledger, newest first

	Acts     Acts    `json:"acts"`
	Counting bool    `json:"counting"` // new connections are being counted
	Record   *Record `json:"record"`   // of the flight, null where none is kept
}

// A Process is the daemon.
type Process struct {
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	Since     time.Time `json:"since"`
	Namespace string    `json:"namespace,omitempty"` // path of the guarded network namespace, empty for its own
}

// Paused is a pause.
type Paused struct {
	Until time.Time `json:"until"`
	By    string    `json:"by"` // who asked for it
}

// A Policy is where the policy in force came from.
type Policy struct {
	Source string    `json:"source"` // for people
	Hash   string    `json:"hash,omitempty"`
	Loaded time.Time `json:"loaded"`
	// Problems are those of the file as it is now, if it was refused: the policy in force
	// is an older one then.
	Problems []string `json:"problems,omitempty"`
}

// A Table is the conntrack table.
type Table struct {
	Count       int      `json:"count"`
	Max         int      `json:"max"`
	Unlimited   bool     `json:"max_unlimited"` // nf_conntrack_max is 0: the kernel keeps no limit
	Buckets     int      `json:"buckets"`
	Utilization float64  `json:"utilization"` // 0 when unlimited
	FillRate    float64  `json:"fill_rate"`   // entries per second, negative when draining
	TimeToFull  *float64 `json:"time_to_full"`
}

// Losses is what the kernel counted within the window that the policy looks back on.
type Losses struct {
	// Losing says that the cause seen now costs connections, not only might.
	Losing       bool    `json:"losing"`
	Window       float64 `json:"window"`
	Drop         uint64  `json:"drop"`
	EarlyDrop    uint64  `json:"early_drop"`
	InsertFailed uint64  `json:"insert_failed"`
	ChainTooLong uint64  `json:"chain_too_long"`
}

// An Episode is one stretch of trouble.
type Episode struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// Advice is what would be done if the policy's mode or an operator allowed it.
type Advice struct {
	ID      string         `json:"id"`
	Measure policy.Measure `json:"measure"`
	About   string         `json:"about,omitempty"` // the source or flow of a lease
	Text    string         `json:"text"`            // what would be done
	Reason  string         `json:"reason"`
	Since   time.Time      `json:"since"`
	Due     bool           `json:"due"` // it was still right at the newest reading
}

// An Active change is in force.
type Active struct {
	ID      int            `json:"id"`
	Measure policy.Measure `json:"measure"`
	Text    string         `json:"text"` // what it does
	Cause   policy.Cause   `json:"cause,omitempty"`
	Made    time.Time      `json:"made"`
	Outcome policy.Outcome `json:"outcome,omitempty"` // empty while it is not judged
	// LeaseLeft is when the kernel ends it unless it is renewed, null of what is no lease.
	LeaseLeft *float64 `json:"lease_left"`
	// HoldLeft is how long the calm must last yet before it is undone, null while there is
	// none.
	HoldLeft *float64 `json:"hold_left"`
	Refused  *uint64  `json:"refused"` // packets that a limit or drop has refused
}

// Yielded is a change that was given up because somebody else has changed its value, or
// that an operator has rolled back.
type Yielded struct {
	ID         int            `json:"id"`
	Measure    policy.Measure `json:"measure"`
	Text       string         `json:"text"`        // who or what, with our value and theirs
	RolledBack bool           `json:"rolled_back"` // by an operator
	At         time.Time      `json:"at"`
	Until      time.Time      `json:"until"` // when the guardian considers this again
}

// An Act is a change of the ledger, whatever became of it.
type Act struct {
	ID      int            `json:"id"`
	Measure policy.Measure `json:"measure"`
	Text    string         `json:"text"`
	State   string         `json:"state"` // of the ledger: intended, applied, undoing, undone, failed, yielded, void
	At      time.Time      `json:"at"`    // when it reached that state
	Outcome policy.Outcome `json:"outcome,omitempty"`
	Note    string         `json:"note,omitempty"`
}

// Acts are what was done within the last hour, against the policy's budgets.
type Acts struct {
	All      Budget                    `json:"all"`
	Measures map[policy.Measure]Budget `json:"measures"`
}

// A Budget is how many acts an hour may have.
type Budget struct {
	Used    int `json:"used"`
	Allowed int `json:"allowed"`
}

// A Record is the flight record's state.
type Record struct {
	Error string `json:"error,omitempty"` // why nothing is recorded at present, empty when it is
}
