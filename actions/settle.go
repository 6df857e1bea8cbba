package actions

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// holds is what the kernel holds of an edit.
type holds int

const (
	holdsAfter  holds = iota // our value
	holdsBefore              // the value before it
	holdsOther               // somebody else's
	isGone                   // nothing: the value is gone with its namespace
	isCovered                // the value of a later open change of ours
)

// A sight is an edit beside the kernel's present value.
type sight struct {
	ledger.Edit
	holds holds
	value string
}

// settle brings an open change as far as the kernel's present values allow,
// and is the only place that does: the end of Do and Undo and all of Recover.
// cause says why it is asked, where that is known. A change of another boot is
// void; one that is closed stays as it is. On an error the change is still
// open and settle may be called again.
func (e *Executor) settle(c ledger.Change, cause string, force bool) (ledger.Change, error) {
	if c.State.Open() && c.Boot != e.ledger.Boot() {
		return e.step(c, ledger.Void, "the kernel has been booted since")
	}
	seen, err := e.look(c)
	if err != nil {
		return c, err
	}
	if c, seen, err = e.forget(c, seen); err != nil {
		return c, err
	}
	switch c.State {
	case ledger.Intended:
		return e.settleIntended(c, seen, cause, force)
	case ledger.Applied:
		return e.settleApplied(c, seen, cause)
	case ledger.Undoing:
		return e.settleUndoing(c, seen, force)
	}
	return c, nil
}

// look reads the keys that are still ours.
func (e *Executor) look(c ledger.Change) ([]sight, error) {
	var seen []sight
	for _, edit := range c.Ours() {
		if e.covered(c, edit.Key) {
			seen = append(seen, sight{Edit: edit, holds: isCovered})
			continue
		}
		s, err := e.sees(edit)
		switch {
		case errors.Is(err, ErrGone):
			s.holds = isGone
		case err != nil:
			return nil, err
		}
		seen = append(seen, s)
	}
	return seen, nil
}

// forget lets go of what is gone for good, of which there is nothing to do or to
// take back, and returns what is left to settle. A change of which nothing is left
// is void.
func (e *Executor) forget(c ledger.Change, seen []sight) (ledger.Change, []sight, error) {
	gone := keep(seen, isGone)
	switch len(gone) {
	case 0:
		return c, seen, nil
	case len(seen):
		c, err := e.step(c, ledger.Void, ErrGone.Error())
		return c, nil, err
	}
	keys := make([]string, 0, len(gone))
	for _, s := range gone {
		keys = append(keys, s.Key)
	}
	c, err := e.step(c, c.State, fmt.Sprintf("%s: %v", strings.Join(keys, ", "), ErrGone), keys...)
	return c, slices.DeleteFunc(seen, func(s sight) bool { return s.holds == isGone }), err
}

// sees reads one key.
func (e *Executor) sees(edit ledger.Edit) (sight, error) {
	value, err := e.read(edit.Key)
	s := sight{Edit: edit, holds: holdsOther, value: value}
	switch value {
	case edit.After:
		s.holds = holdsAfter
	case edit.Before:
		s.holds = holdsBefore
	}
	return s, err
}

// covered reports whether a later open change stands on c's key.
func (e *Executor) covered(c ledger.Change, key string) bool {
	return slices.ContainsFunc(e.Open(), func(above ledger.Change) bool {
		return above.ID > c.ID && edits(above, key)
	})
}

// NeverWritten is the note of a failed change that nothing refused: its run ended
// before all was written.
const NeverWritten = "not in force: the kernel reads the value before"

// settleIntended: all of it taken is applied, none of it or a part is failed,
// and the part is written back.
func (e *Executor) settleIntended(c ledger.Change, seen []sight, cause string, force bool) (ledger.Change, error) {
	others := keep(seen, holdsOther)
	switch {
	case len(others) == len(seen):
		if cause == NeverWritten { // who knows
			cause = ""
		}
		return e.lose(c, ledger.Yielded, join(cause, describe(others)), others)
	case len(keep(seen, holdsBefore)) == 0:
		return e.lose(c, ledger.Applied, describe(others), others)
	}
	late, err := e.takeBack(c, seen, force)
	if err != nil {
		return c, err
	}
	others = append(others, late...)
	if cause == "" {
		cause = "not taken: the kernel reads the value before"
	}
	return e.lose(c, ledger.Failed, join(cause, describe(others)), others)
}

// settleApplied: a value that is not ours any more belongs to whoever wrote it, but
// a lease may have ended by itself.
func (e *Executor) settleApplied(c ledger.Change, seen []sight, cause string) (ledger.Change, error) {
	lapsed, given := e.partLapsed(keep(seen, holdsBefore))
	lost := slices.Concat(keep(seen, holdsOther), given)
	note := join(cause, describe(lost))
	if len(lapsed) > 0 {
		note = join(note, LapsedNote)
	}
	switch gone := len(lost) + len(lapsed); {
	case gone == 0:
		return c, nil
	case gone < len(seen):
		return e.lose(c, ledger.Applied, note, append(lost, lapsed...))
	case len(lapsed) > 0:
		return e.lose(c, ledger.Undone, note, lost)
	}
	return e.lose(c, ledger.Yielded, note, lost)
}

// partLapsed parts leases that are not in force from other values.
func (e *Executor) partLapsed(seen []sight) (leases, others []sight) {
	for _, s := range seen {
		if _, ok := e.leaseTarget(s.Key); ok && s.Before == NoLease {
			leases = append(leases, s)
		} else {
			others = append(others, s)
		}
	}
	return leases, others
}

// settleUndoing: what holds our value gets the value before.
func (e *Executor) settleUndoing(c ledger.Change, seen []sight, force bool) (ledger.Change, error) {
	lost := keep(seen, holdsOther)
	late, err := e.takeBack(c, seen, force)
	lost = append(lost, late...)
	if err != nil {
		if len(lost) > 0 {
			c, lostErr := e.lose(c, ledger.Undoing, describe(lost), lost)
			return c, errors.Join(err, lostErr)
		}
		return c, err
	}
	if len(seen) > 0 && len(lost) == len(seen) {
		return e.lose(c, ledger.Yielded, describe(lost), lost)
	}
	return e.lose(c, ledger.Undone, describe(lost), lost)
}

// takeBack writes the value before wherever the kernel holds ours, last edit
// first, and reads it back. It returns the edits that somebody else took
// meanwhile, and errors for those that still hold our value.
func (e *Executor) takeBack(c ledger.Change, seen []sight, force bool) (lost []sight, err error) {
	var errs []error
	for _, s := range slices.Backward(seen) {
		switch s.holds {
		case isCovered:
			errs = append(errs, fmt.Errorf("%s is held by a later change", s.Key))
		case holdsAfter:
			now, err := e.restore(c, s, force)
			if err != nil {
				errs = append(errs, err)
			} else if now.holds == holdsOther {
				lost = append(lost, now)
			}
		}
	}
	return lost, errors.Join(errs...)
}

// restore writes one value before, if the kernel still holds ours: writing the
// other edits may have taken its time (a resize of the hash does). It fails
// when our value is there afterwards.
func (e *Executor) restore(c ledger.Change, s sight, force bool) (sight, error) {
	if _, ok := e.leaseTarget(s.Key); ok && s.Before != NoLease {
		return s, fmt.Errorf("%s: a lease is not given back by an undo", s.Key)
	}
	if err := e.allow(c, s.Key, s.After, s.Before, force); err != nil {
		return s, err
	}
	now, err := e.sees(s.Edit)
	if err != nil || now.holds != holdsAfter {
		return now, err
	}
	writeErr := e.write(s.Key, s.Before)
	now, err = e.sees(s.Edit)
	switch {
	case err != nil:
		return now, errors.Join(writeErr, err)
	case now.holds != holdsAfter:
		return now, nil
	case writeErr != nil:
		return now, writeErr
	}
	return now, fmt.Errorf("%s still reads %s after %s was written", s.Key, now.value, s.Before)
}

// lose steps a change to a state with the keys it has lost. The open changes
// below lose them, too: the value there is not the one they wrote, even should
// it read the same.
func (e *Executor) lose(c ledger.Change, to ledger.State, note string, lost []sight) (ledger.Change, error) {
	keys := make([]string, 0, len(lost))
	for _, s := range lost {
		keys = append(keys, s.Key)
	}
	// Those below first: a crash in between finds the change above still open,
	// and settles it, and so them, once more.
	for _, below := range slices.Backward(slices.Clone(e.Open())) {
		if below.ID < c.ID {
			if err := e.loseBelow(below, c.ID, keys); err != nil {
				return c, err
			}
		}
	}
	return e.step(c, to, note, keys...)
}

func (e *Executor) loseBelow(c ledger.Change, above int, keys []string) error {
	var gone []string
	ours := c.Ours()
	for _, edit := range ours {
		if slices.Contains(keys, edit.Key) {
			gone = append(gone, edit.Key)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	to := c.State
	if len(gone) == len(ours) {
		to = ledger.Yielded
	}
	_, err := e.step(c, to, fmt.Sprintf("%s lost with change %d above it", strings.Join(gone, ", "), above), gone...)
	return err
}

func keep(seen []sight, h holds) []sight {
	var kept []sight
	for _, s := range seen {
		if s.holds == h {
			kept = append(kept, s)
		}
	}
	return kept
}

// describe says what was found where our value should be.
func describe(lost []sight) string {
	var parts []string
	for _, s := range lost {
		parts = append(parts, fmt.Sprintf("%s reads %s, not our %s: it is somebody else's now", s.Key, s.value, s.After))
	}
	return strings.Join(parts, "; ")
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
