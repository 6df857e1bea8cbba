package entries

import (
	"testing"
	"testing/synctest"
	"time"
)

// smallest is less than any entry takes of a dump: two tuples of 36 bytes, the headers
// of 20, and five attributes of 8.
const smallest = 128

// However little the budget and however much there was to do in a datagram, the next
// one, which is there already, does not wait longer than a few milliseconds for it.
func TestPaceNeverSleepsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPace(LeastBudget)
		start, changes := time.Now(), 0
		for range 100 {
			p.spend(datagram / smallest)
			changes += datagram / smallest
			if d := p.owes(); d > longest {
				t.Fatalf("%v", d)
			} else if err := pause(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < time.Duration(changes)*time.Second/LeastBudget-shortest {
			t.Errorf("%d changes in %v are more than the budget", changes, took)
		}
	})
}

func TestPaceSavesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPace(LeastBudget)
		time.Sleep(time.Hour)
		p.spend(30)
		if got := p.owes(); got != 3*time.Millisecond {
			t.Errorf("%v after an hour", got)
		}
		none := startPace(0)
		if none.spend(1 << 30); none.owes() != 0 {
			t.Error("no budget holds back")
		}
	})
}
