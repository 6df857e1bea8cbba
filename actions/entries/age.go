package entries

import (
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A Rule says what entries of a class should live.
type Rule struct {
	New int   // seconds without a packet; 0: the class is not in the change
	Was []Was // the timeouts that can have given an entry its time
}

// A Was is a timeout that was in force, on the boot clock.
type Was struct {
	Timeout int           // seconds
	Since   time.Duration // not before; 0 is always
	Until   time.Duration // not after; 0 is still
	// Retimed is that entries may have been given what this timeout would have
	// left them, however old they were.
	Retimed bool
}

// A moment is when an entry was dumped: not before, not after.
type moment struct{ from, to time.Duration }

// slack is how far the ledger's times and the kernel's may be apart: jiffies are
// coarser than the boot clock.
const slack = time.Second

// Age is the least age, in whole seconds, that an entry with so many seconds left
// can have, by the timeouts that can have given it those; ok is false if there is
// none, which makes it somebody else's. The kernel cuts what is left to whole
// seconds, so an entry with left of timeout is more than timeout-left-1 old.
func (r *Rule) age(left int64, at moment) (age int64, ok bool) {
	for i := range r.Was {
		w := &r.Was[i]
		gone := int64(w.Timeout) - left
		if gone < 0 || ok && gone > age || w.excluded(gone, at) {
			continue
		}
		age, ok = gone, true
	}
	return max(age-1, 0), ok
}

// excluded reports whether a timeout can't have given its time to an entry of which
// so many seconds of it are gone: it was not in force yet when that would have been,
// or not any more.
func (w *Was) excluded(gone int64, at moment) bool {
	young := time.Duration(gone-1)*time.Second - slack
	old := time.Duration(gone)*time.Second + slack
	return !w.Retimed && w.Since != 0 && young > at.to-w.Since || w.Until != 0 && old < at.from-w.Until
}

// left is what an entry of an age should have left, no less than timeout.Spared.
func (r *Rule) left(age int64) int64 { return max(int64(r.New)-age, timeout.Spared) }
