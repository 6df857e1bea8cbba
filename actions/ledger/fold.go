package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// A book is what the records so far add up to.
type book struct {
	next    int      // identifier of the next change, 0 before the header
	changes []Change // by rising ID
}

// maxID bounds the identifiers: what is larger is damage, and an int holds it
// everywhere.
const maxID = 1 << 30

// errNewer is a ledger of a later version of the program.
var errNewer = errors.New("written by a newer version of conntrack-guardian: use that version, or move the file away")

// clone returns a book that can be folded into without changing what readers
// of b.changes see.
func (b book) clone() book {
	b.changes = slices.Clone(b.changes)
	return b
}

// fold adds one record. A record that makes no sense is refused and changes
// nothing.
func (b *book) fold(r record) error {
	switch {
	case b.next == 0:
		return b.foldHeader(r.Header)
	case r.Change != nil:
		return b.foldChange(*r.Change)
	case r.Step != nil:
		return b.foldStep(*r.Step)
	case r.Judged != nil:
		return b.foldVerdict(*r.Judged)
	case r.Walked != nil:
		return b.foldWalked(*r.Walked)
	}
	return errors.New("a record of no known kind")
}

func (b *book) foldHeader(h *header) error {
	switch {
	case h == nil:
		return errors.New("the first record does not name the format")
	case h.Format > format:
		return fmt.Errorf("format %d, %d is known: %w", h.Format, format, errNewer)
	case h.Format < 1 || h.Next < 1:
		return fmt.Errorf("format %d, next change %d: both start at 1", h.Format, h.Next)
	case h.Next > maxID:
		return fmt.Errorf("next change %d: no ledger comes that far", h.Next)
	}
	b.next = h.Next
	return nil
}

func (b *book) foldChange(c Change) error {
	switch {
	case c.ID < 1 || c.ID >= maxID || len(b.changes) > 0 && c.ID <= b.changes[len(b.changes)-1].ID:
		return fmt.Errorf("change %d is out of order", c.ID)
	case !c.State.valid():
		return fmt.Errorf("change %d: unknown state %q", c.ID, c.State)
	case len(c.Edits) == 0:
		return fmt.Errorf("change %d edits nothing", c.ID)
	}
	if c.Made == 0 {
		c.Made = max(c.Since, 1) // never 0 again, so that it stays what it is
	}
	b.changes = append(b.changes, c)
	b.next = max(b.next, c.ID+1)
	return nil
}

func (b *book) foldStep(s step) error {
	i, ok := b.find(s.ID)
	switch {
	case !ok:
		return fmt.Errorf("a step of change %d, which is not recorded", s.ID)
	case !s.State.valid():
		return fmt.Errorf("change %d: unknown state %q", s.ID, s.State)
	case !b.changes[i].State.Open():
		return fmt.Errorf("change %d is %s and can't become %s", s.ID, b.changes[i].State, s.State)
	}
	c := &b.changes[i]
	c.State, c.Changed = s.State, s.Wall
	if s.Note != "" {
		c.Note = s.Note
	}
	if s.Boot == c.Boot {
		c.Since = s.Since
	}
	if len(s.Yielded) > 0 {
		c.Yielded = slices.Concat(c.Yielded, s.Yielded)
	}
	return nil
}

func (b *book) foldVerdict(v verdict) error {
	i, ok := b.find(v.ID)
	if !ok {
		return fmt.Errorf("an outcome of change %d, which is not recorded", v.ID)
	}
	b.changes[i].Outcome = v.Outcome
	return nil
}

func (b *book) find(id int) (int, bool) {
	return slices.BinarySearchFunc(b.changes, id, func(c Change, id int) int { return cmp.Compare(c.ID, id) })
}

// pruned returns b with its open changes and the newest keep closed ones.
func (b book) pruned(keep int) book {
	closed := 0
	for _, c := range b.changes {
		if !c.State.Open() {
			closed++
		}
	}
	kept := make([]Change, 0, len(b.changes))
	for _, c := range b.changes {
		if !c.State.Open() {
			if closed--; closed >= keep {
				continue
			}
		}
		kept = append(kept, c)
	}
	return book{next: b.next, changes: kept}
}

// encoded returns the lines of a ledger that folds to b.
func (b book) encoded() ([]byte, error) {
	all, err := encode(record{Header: &header{Format: format, Next: b.next}})
	for i := range b.changes {
		line, lineErr := encode(record{Change: &b.changes[i]})
		err = errors.Join(err, lineErr)
		all = append(all, line...)
	}
	return all, err
}
