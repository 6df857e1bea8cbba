package entries

import (
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A Result is what a walk came to. The numbers count all attempts, but for Kept,
// which counts the last one.
type Result struct {
	Done     bool    // it came to the end of the table
	Note     string  // why not, or empty
	Attempts int     // 1, and one more for each resize under the walk
	Read     int     // entries
	Took     float64 // seconds
	CPU      float64 // seconds of CPU time, kernel and user together

	Deleted, Retimed int
	Gone             int   // had ended by themselves, or their tuple was another's, when they were to be changed
	Refused          int   // by the kernel, for another reason
	Refusal          error // the last of those, nil if there is none

	Classes []Count // of those in the change that had entries changed, in the order of timeout.Class
	Kept    Kept
}

// A Count is what was done to the entries of a class. What was gone when its turn came
// is known for all classes together: each has its share of it.
type Count struct {
	Class            timeout.Class
	Deleted, Retimed int
}

// Kept counts the entries that were left alone, by the reason.
type Kept struct {
	Other       int // their class is not in the change
	Offloaded   int // in a flow table
	Fixed       int // with a fixed timeout
	Established int // established connections, without the opt-in
	Foreign     int // more time left than any timeout of their class gives
	Held        int // by children that live, or by a packet that is under way
	Young       int // no more left than they should have
}

// Ledger is the result as it is recorded.
func (r *Result) Ledger() ledger.Walk {
	w := ledger.Walk{Done: r.Done, Note: r.Note, Read: r.Read, Took: r.Took}
	for _, c := range r.Classes {
		w.Classes = append(w.Classes, ledger.Count{Class: c.Class.Name(), Deleted: c.Deleted, Retimed: c.Retimed})
	}
	return w
}

// keptOf names what was counted by verdict.
func keptOf(n *[verdicts]int) Kept {
	return Kept{
		Other: n[isOther], Offloaded: n[isOffloaded], Fixed: n[isFixed], Established: n[isEstablished],
		Foreign: n[isForeign], Held: n[isHeld], Young: n[isYoung],
	}
}

// A tally counts by class.
type tally [timeout.Classes]int

func (t *tally) sum() (n int) {
	for _, of := range t {
		n += of
	}
	return n
}

// add adds what was asked for, but for those of which nothing came: of each class its
// share, and what is left over by rounding from the first that has any.
func (t *tally) add(asked *tally, missed int) {
	total := asked.sum()
	rest := missed
	var took tally
	for c, n := range asked {
		if total > 0 {
			took[c] = missed * n / total
			rest -= took[c]
		}
	}
	for c, n := range asked {
		more := min(rest, n-took[c])
		rest -= more
		t[c] += n - took[c] - more
	}
}

// counts lists the classes of two tallies that are not 0 in both.
func counts(deleted, retimed *tally) (list []Count) {
	for c := range timeout.Classes {
		if deleted[c]+retimed[c] > 0 {
			list = append(list, Count{c, deleted[c], retimed[c]})
		}
	}
	return list
}
