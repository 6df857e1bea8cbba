package control

import (
	"context"
	"encoding/json"
	"time"
)

// Version is that of the JSON, the number in the paths. Fields may be added to it; what is
// there keeps its name, its unit and its sense.
const Version = 1

// A Daemon is what the server asks. Both methods are called from many goroutines and end
// with the context. An error that is no *Refusal is answered as a failure of the daemon's.
type Daemon interface {
	Status(context.Context) (*Status, error)
	Do(context.Context, Request) (*Answer, error)
}

// A Verb is what an operator asks for.
type Verb string

// The verbs.
const (
	Approve  Verb = "approve"  // do what is advised
	Rollback Verb = "rollback" // undo changes
	Reload   Verb = "reload"   // read the policy file now
	Pause    Verb = "pause"    // change nothing for a while
	Resume   Verb = "resume"   // end a pause
)

// A Request is one thing that an operator asks for. The fields beyond By are set for the
// verbs they name, and have been checked.
type Request struct {
	Verb Verb
	By   string // who asks, for people: "root", "alice (uid 1000)"

	ID string // of the advice (approve)

	// Of rollback exactly one is set of Changes (ids from 1, none twice), Restrictions and
	// All.
	Changes      []int
	Restrictions bool // what restricts the traffic
	All          bool
	Force        bool // even where the table holds too much for it

	For time.Duration // how long to pause, MinPause to MaxPause
}

// A pause is at least and at most so long.
const (
	MinPause = time.Second
	MaxPause = 24 * time.Hour
)

// An Answer says what came of a request.
type Answer struct {
	Message string     `json:"message"`         // in one sentence
	Lines   []string   `json:"lines,omitempty"` // what there is to add, for people
	Until   *time.Time `json:"until,omitempty"` // when the pause ends (pause)
	// Changes are the records of the ledger, an array as actions --json prints it, of the
	// changes that were made (approve) or brought further (rollback).
	Changes json.RawMessage `json:"changes,omitempty"`
	// Failed is what could not be done, although the rest was.
	Failed []string `json:"failed,omitempty"`
}

// A Code names why a request was refused. Callers branch on it.
type Code string

// The codes of refusals by the daemon.
const (
	NotFound Code = "not-found" // no such advice or change; HTTP status 404, all others 409
	Stale    Code = "stale"     // the advice is not right any more on a fresh reading
	Rejected Code = "rejected"  // the policy file has mistakes, each one of Lines
	Blocked  Code = "blocked"   // it can't be done now: paused, unable, blind
)

// The codes of refusals by the server.
const (
	Malformed Code = "malformed" // 400, 405, 413, 414, 431: it is not understood
	Forbidden Code = "forbidden" // 403
	NoPath    Code = "no-path"   // 404: this version has nothing there
	Busy      Code = "busy"      // 503: too many connections, or no answer of the daemon in time
	Fault     Code = "fault"     // 500: the daemon failed
)

// A Refusal is why a request was not granted.
type Refusal struct {
	Code    Code     `json:"code"`
	Message string   `json:"message"`
	Lines   []string `json:"lines,omitempty"`
}

func (r *Refusal) Error() string { return r.Message }

// refused is the body of any answer but 200.
type refused struct {
	Error *Refusal `json:"error"`
}
