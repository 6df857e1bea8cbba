package actions

import (
	"errors"
	"fmt"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// Do makes a change: its edits, measure and reasons are given, the rest is
// filled in. With ErrStale, ErrUnsafe or when the ledger can't be written
// nothing was written to the kernel. Otherwise the change that is returned
// says by its state what came of it: Applied, Failed (the kernel refused it;
// the note says how), Yielded (somebody else was faster) or Void (its namespace
// has just gone). An error with a change at Intended means that this could not be told or recorded: Probe or
// Recover settles it.
func (e *Executor) Do(c ledger.Change) (ledger.Change, error) {
	e.begin()
	if err := e.pay(); err != nil {
		return c, err
	}
	if err := errors.Join(e.clear(c), e.owedErr); err != nil {
		return c, err
	}
	if err := e.check(c); err != nil {
		return c, err
	}
	c, err := e.ledger.Intend(c)
	if err != nil {
		return c, err
	}
	// From here a crash leaves a record that settle finishes.
	return e.settle(c, e.writeAll(c), false)
}

// clear settles the open changes that c would cover. An undo that the kernel has
// not taken yet is given up: c wants more of the same, and to finish the undo now
// would take capacity away in the moment of need.
func (e *Executor) clear(c ledger.Change) error {
	for _, below := range slices.Backward(slices.Clone(e.Open())) {
		if !shareKey(below, c) {
			continue
		}
		now, ok := e.find(below.ID)
		if ok {
			var err error
			if now, err = e.reinstate(now); err != nil {
				return fmt.Errorf("settle change %d before another on its key: %w", below.ID, err)
			}
		}
		if len(now.Yielded) > len(below.Yielded) {
			return fmt.Errorf("%w: change %d has just lost it to somebody else", ErrStale, below.ID)
		}
	}
	return nil
}

// reinstate settles an open change, but brings one at Undoing that is still in
// force back to Applied.
func (e *Executor) reinstate(c ledger.Change) (ledger.Change, error) {
	if c.State == ledger.Undoing && c.Boot == e.ledger.Boot() {
		seen, err := e.look(c)
		if err != nil {
			return c, err
		}
		if len(keep(seen, holdsAfter)) == len(seen) {
			return e.step(c, ledger.Applied, "the undo was given up: more was needed")
		}
	}
	return e.settle(c, "", false)
}

// check refuses a change that is malformed, stale or not allowed.
func (e *Executor) check(c ledger.Change) error {
	if len(c.Edits) == 0 {
		return errors.New("a change without edits")
	}
	for i, edit := range c.Edits {
		if edit.Before == edit.After {
			return fmt.Errorf("%s: %s is no change", edit.Key, edit.After)
		}
		if slices.ContainsFunc(c.Edits[:i], func(x ledger.Edit) bool { return x.Key == edit.Key }) {
			return fmt.Errorf("%s is edited twice in one change", edit.Key)
		}
		value, err := e.read(edit.Key)
		if err != nil {
			return err
		}
		if value != edit.Before {
			return fmt.Errorf("%s reads %s, not %s: %w", edit.Key, value, edit.Before, ErrStale)
		}
		if err := e.allow(c, edit.Key, edit.Before, edit.After, false); err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes the edits in order up to the first that is refused, and
// returns the refusal. What has come of it is read, not assumed. The record
// took its time to reach the disk, so each value is read once more.
func (e *Executor) writeAll(c ledger.Change) string {
	for _, edit := range c.Edits {
		if value, err := e.read(edit.Key); err != nil || value != edit.Before {
			return fmt.Sprintf("%s was not written: it changed at the last moment", edit.Key)
		}
		if err := e.write(edit.Key, edit.After); err != nil {
			return err.Error()
		}
	}
	return ""
}

// shareKey reports whether two changes edit the same value.
func shareKey(a, b ledger.Change) bool {
	return slices.ContainsFunc(a.Edits, func(edit ledger.Edit) bool { return edits(b, edit.Key) })
}

func edits(c ledger.Change, key string) bool {
	return slices.ContainsFunc(c.Edits, func(x ledger.Edit) bool { return x.Key == key })
}
