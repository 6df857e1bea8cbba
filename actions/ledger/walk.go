package ledger

import (
	"fmt"
	"slices"
	"time"
)

// A Walk is what walks over the table have done to the entries that a change
// of timeouts found there. Done, Note and Wall are the newest walk's, the
// numbers are the sum of all.
type Walk struct {
	Running bool   `json:"running,omitempty"` // it has begun, and is not known to have ended
	Done    bool   `json:"done"`              // it came to the end of the table
	Note    string `json:"note,omitempty"`    // why not
	// Retimes is that a walk may have changed the time of entries: what they have
	// left is then no longer what a packet gave them.
	Retimes bool      `json:"retimes,omitempty"`
	Wall    time.Time `json:"wall"` // wall clock at its end, or at its begin while it runs
	Walks   int       `json:"walks"`
	Read    int       `json:"read"` // entries
	Took    float64   `json:"took"` // seconds
	Classes []Count   `json:"classes,omitempty"`
}

// A Count is what walks did to the entries of one class, which is the name of
// its sysctl without "nf_conntrack_".
type Count struct {
	Class   string `json:"class"`
	Deleted int    `json:"deleted"`
	Retimed int    `json:"retimed"`
}

// A walked is the record of a walk's begin or end.
type walked struct {
	ID   int  `json:"id"`
	Walk Walk `json:"walk"`
}

// Walking records that a walk begins for a change, which may change the time of
// entries: to be called before it does. Should it never be heard of again, that is
// what is known of it.
func (l *Ledger) Walking(id int, retimes bool) (Change, error) {
	wall, _ := l.opt.Now()
	w := Walk{Running: true, Retimes: retimes, Wall: wall.UTC().Round(0), Walks: 1}
	return l.append(id, record{Walked: &walked{ID: id, Walk: w}})
}

// Walked records what a walk for a change came to, whatever has become of the
// change meanwhile: entries that are gone stay gone. It fills in Running, Retimes,
// Wall and Walks.
func (l *Ledger) Walked(id int, w Walk) (Change, error) {
	wall, _ := l.opt.Now()
	w.Wall, w.Walks, w.Running = wall.UTC().Round(0), 1, false
	w.Retimes = slices.ContainsFunc(w.Classes, func(c Count) bool { return c.Retimed > 0 })
	return l.append(id, record{Walked: &walked{ID: id, Walk: w}})
}

func (b *book) foldWalked(w walked) error {
	i, ok := b.find(w.ID)
	if !ok {
		return fmt.Errorf("a walk of change %d, which is not recorded", w.ID)
	}
	sum := w.Walk
	sum.Classes = nil
	if before := b.changes[i].Walk; before != nil {
		sum.add(before)
	}
	for _, c := range w.Walk.Classes {
		sum.Classes = addCount(sum.Classes, c)
	}
	b.changes[i].Walk = &sum
	return nil
}

// add adds what was known before. The end of a walk whose begin was counted is not
// counted again.
func (w *Walk) add(before *Walk) {
	w.Walks += before.Walks
	if before.Running && !w.Running {
		w.Walks--
	}
	w.Retimes = w.Retimes || before.Retimes
	w.Read += before.Read
	w.Took += before.Took
	w.Classes = slices.Clone(before.Classes) // readers have the old one
}

// addCount adds one class to those of earlier walks.
func addCount(to []Count, c Count) []Count {
	for i := range to {
		if to[i].Class == c.Class {
			to[i].Deleted += c.Deleted
			to[i].Retimed += c.Retimed
			return to
		}
	}
	return append(to, c)
}
