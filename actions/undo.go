package actions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// ByHand begins the note of a change that an operator has taken back.
const ByHand = "rolled back by hand"

// RolledBack reports whether an operator has taken a change back.
func RolledBack(c ledger.Change) bool {
	return c.State == ledger.Undone && strings.HasPrefix(c.Note, ByHand)
}

// Undo takes an open change back, and before it, newest first, the later ones
// that stand on its keys. It returns every change that has come further, also
// with an error. What somebody else has changed is yielded, not undone.
//
// A refusal by Allow comes before anything is recorded: the change stays
// Applied. A refusal by the kernel leaves it at Undoing, to be tried again by
// another Undo or Recover.
func (e *Executor) Undo(id int, note string) ([]ledger.Change, error) {
	return e.undo(id, note, false)
}

// UndoForced is Undo for an operator who knows better: an unsafe write is made.
func (e *Executor) UndoForced(id int, note string) ([]ledger.Change, error) {
	return e.undo(id, note, true)
}

func (e *Executor) undo(id int, note string, force bool) ([]ledger.Change, error) {
	e.begin()
	stack, err := e.stackFrom(id)
	if err != nil {
		return nil, err
	}
	for _, id := range stack {
		if err := e.undoOne(id, note, force); err != nil {
			return e.end(fmt.Errorf("undo change %d: %w", id, err))
		}
	}
	return e.end(nil)
}

// Yield lets go of what somebody else has changed on the keys of an open
// change: those edits, and all below them, are never undone. It reads again
// first; what holds our value stays ours.
func (e *Executor) Yield(id int, note string) ([]ledger.Change, error) {
	e.begin()
	stack, err := e.stackFrom(id)
	if err != nil {
		return nil, err
	}
	for _, id := range stack {
		c, open := e.find(id)
		if !open {
			continue
		}
		if _, err := e.settle(c, note, false); err != nil {
			return e.end(fmt.Errorf("yield change %d: %w", id, err))
		}
	}
	return e.end(nil)
}

// stackFrom returns the identifiers of an open change and of all open ones
// that stand on it, directly or through others, newest first.
func (e *Executor) stackFrom(id int) ([]int, error) {
	base, ok := e.find(id)
	if !ok {
		return nil, fmt.Errorf("change %d: %w", id, ErrNotOpen)
	}
	stack := []ledger.Change{base}
	for _, c := range e.Open() {
		stands := func(below ledger.Change) bool { return shareKey(below, c) }
		if c.ID > id && slices.ContainsFunc(stack, stands) {
			stack = append(stack, c)
		}
	}
	ids := make([]int, 0, len(stack))
	for _, c := range slices.Backward(stack) {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

func (e *Executor) undoOne(id int, note string, force bool) error {
	c, open := e.find(id)
	if !open { // lost together with one above it
		return nil
	}
	c, err := e.settle(c, "", force)
	if err != nil || c.State != ledger.Applied {
		return err
	}
	for _, edit := range c.Ours() {
		if err := e.allow(c, edit.Key, edit.After, edit.Before, force); err != nil {
			return err
		}
	}
	if c, err = e.step(c, ledger.Undoing, note); err != nil {
		return err
	}
	_, err = e.settle(c, "", force)
	return err
}
