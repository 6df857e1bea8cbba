package actions

import (
	"errors"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// An Executor makes changes and keeps the ledger of them. It is for one
// goroutine.
type Executor struct {
	ledger  *ledger.Ledger
	targets map[string]Target // by kind

	// owed are changes that have come further than the ledger could be told.
	owed    map[int]debt
	owedErr error // why, since the present call began
	owedGen uint64
	moved   []ledger.Change // what the present call has brought further

	view    []ledger.Change // the changes with owed applied, as of viewGen
	open    []ledger.Change
	viewGen uint64

	leased    []leasesOf // of the open changes, as of leasesGen
	leasesGen uint64
}

// A debt is a change with the records that it lacks, as one.
type debt struct {
	change  ledger.Change
	yielded []string
}

// New returns an executor on an open ledger with its targets by kind. Call
// Recover before anything else.
func New(l *ledger.Ledger, targets map[string]Target) *Executor {
	return &Executor{ledger: l, targets: targets, owed: map[int]debt{}, viewGen: ^uint64(0), leasesGen: ^uint64(0)}
}

// Changes returns every change that is remembered, by rising ID. The slice is
// shared and must not be modified; while Generation stays the same so does it.
func (e *Executor) Changes() []ledger.Change {
	e.refresh()
	return e.view
}

// Open returns the open changes, by rising ID, under the terms of Changes.
func (e *Executor) Open() []ledger.Change {
	e.refresh()
	return e.open
}

// Generation rises whenever Changes returns something else.
func (e *Executor) Generation() uint64 { return e.ledger.Generation() + e.owedGen }

func (e *Executor) refresh() {
	if e.viewGen == e.Generation() {
		return
	}
	e.view = e.ledger.Changes()
	if len(e.owed) > 0 {
		e.view = slices.Clone(e.view)
		for i, c := range e.view {
			if d, ok := e.owed[c.ID]; ok {
				e.view[i] = d.change
			}
		}
	}
	e.open = nil
	for _, c := range e.view {
		if c.State.Open() {
			e.open = append(e.open, c)
		}
	}
	e.viewGen = e.Generation()
}

// find returns the open change with that identifier as it is now.
func (e *Executor) find(id int) (ledger.Change, bool) {
	for _, c := range e.Open() {
		if c.ID == id {
			return c, true
		}
	}
	return ledger.Change{}, false
}

// Judge records whether a change helped.
func (e *Executor) Judge(id int, outcome string) (ledger.Change, error) {
	c, err := e.ledger.Judge(id, outcome)
	if err != nil {
		return c, err
	}
	if d, ok := e.owed[id]; ok {
		d.change.Outcome = outcome
		e.owed[id] = d
		e.owedGen++
	}
	return c, nil
}

// Walking records that a walk over the table begins for a change, before it does:
// without that record there must be none that changes the time of entries.
func (e *Executor) Walking(id int, retimes bool) (ledger.Change, error) {
	return e.withWalk(e.ledger.Walking(id, retimes))
}

// Walked records what a walk over the table for a change came to.
func (e *Executor) Walked(id int, w ledger.Walk) (ledger.Change, error) {
	return e.withWalk(e.ledger.Walked(id, w))
}

// withWalk gives a change that is owed to the ledger the walk that was recorded.
func (e *Executor) withWalk(c ledger.Change, err error) (ledger.Change, error) {
	if err != nil {
		return c, err
	}
	if d, ok := e.owed[c.ID]; ok {
		d.change.Walk = c.Walk
		e.owed[c.ID] = d
		e.owedGen++
	}
	return c, nil
}

// Err is why nothing new can be done at present, nil when it can: the ledger
// could not be written last time.
func (e *Executor) Err() error { return e.ledger.Err() }

// Probe tries, after the ledger could not be written, whether it can be again,
// and then settles what was left open by that. It does nothing otherwise.
func (e *Executor) Probe() ([]ledger.Change, error) {
	intended := func(c ledger.Change) bool { return c.State == ledger.Intended }
	if e.ledger.Err() == nil && len(e.owed) == 0 && !slices.ContainsFunc(e.Open(), intended) {
		return nil, nil
	}
	if err := e.ledger.Probe(); err != nil {
		return nil, err
	}
	return e.Recover()
}

// begin starts a call: nothing has moved yet.
func (e *Executor) begin() { e.moved, e.owedErr = nil, nil }

// end is what a call returns: what it moved, and what went wrong, first of all
// that the ledger could not be told.
func (e *Executor) end(err error) ([]ledger.Change, error) {
	return e.moved, errors.Join(e.owedErr, err)
}

// step brings a change to a state in the ledger; lost are keys that somebody
// else has taken. A change that is known to the ledger as applied or undoing
// comes further also when the ledger can't be told now. Any that is only
// intended does not: it is settled again, by the kernel's value, once it can.
func (e *Executor) step(c ledger.Change, to ledger.State, note string, lost ...string) (ledger.Change, error) {
	d, owed := e.owed[c.ID]
	owing := slices.Concat(d.yielded, lost)
	if owed && note == "" {
		note = d.change.Note
	}
	next, err := e.ledger.Step(c.ID, to, note, owing...)
	switch {
	case err == nil:
		delete(e.owed, c.ID)
	case c.State == ledger.Intended || e.ledger.Err() == nil: // it is not the disk that refused
		return c, err
	default:
		next = c
		next.State, next.Yielded = to, slices.Concat(c.Yielded, lost)
		if note != "" {
			next.Note = note
		}
		e.owed[c.ID] = debt{change: next, yielded: owing}
		e.owedGen++
		e.owedErr = err
	}
	e.note(next)
	return next, nil
}

// note keeps the newest form of every change that the present call moves.
func (e *Executor) note(c ledger.Change) {
	for i := range e.moved {
		if e.moved[i].ID == c.ID {
			e.moved[i] = c
			return
		}
	}
	e.moved = append(e.moved, c)
}

// pay records what is owed to the ledger, oldest change first.
func (e *Executor) pay() error {
	for _, c := range e.Changes() {
		d, ok := e.owed[c.ID]
		if !ok {
			continue
		}
		if _, err := e.ledger.Step(c.ID, d.change.State, d.change.Note, d.yielded...); err != nil {
			return err
		}
		delete(e.owed, c.ID)
		e.owedGen++
	}
	return nil
}
