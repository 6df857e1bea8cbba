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
	Done    bool      `json:"done"`           // it came to the end of the table
	Note    string    `json:"note,omitempty"` // why not
	Wall    time.Time `json:"wall"`           // wall clock at its end
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

// A walked is the record of one walk.
type walked struct {
	ID   int  `json:"id"`
	Walk Walk `json:"walk"`
}

// Walked records a walk that was made for a change, whatever has become of the
// change meanwhile: entries that are gone stay gone. It fills in Wall and Walks.
func (l *Ledger) Walked(id int, w Walk) (Change, error) {
	wall, _ := l.opt.Now()
	w.Wall, w.Walks = wall.UTC().Round(0), 1
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
		sum.Walks += before.Walks
		sum.Read += before.Read
		sum.Took += before.Took
		sum.Classes = slices.Clone(before.Classes) // readers have the old one
	}
	for _, c := range w.Walk.Classes {
		sum.Classes = addCount(sum.Classes, c)
	}
	b.changes[i].Walk = &sum
	return nil
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
