package guard

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A walk may end established connections where the policy says so, and only there.
func TestWalkIsToldOfTheOptIn(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Advise, policy.Act} {
		m := &walkman{}
		shortening(t, m, func(w *gateway) {
			w.Config.ShortenTimeouts.Floors[policy.TCPEstablished].Mode = mode
			w.want = 63_000
			w.ticks(3 * time.Second)
			if len(m.plans) == 0 || m.plans[0].Established != (mode == policy.Act) {
				t.Errorf("mode %s: planned %+v", mode, m.plans)
			}
		})
	}
}

// That somebody takes a timeout under a walk is no failure of it: it is yielded.
func TestTakenTimeoutIsNoFailure(t *testing.T) {
	m := &walkman{err: entries.ErrTaken}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		if len(m.plans) == 0 {
			t.Error("no walk")
		}
		w.wantLines(eventFailed, 0)
	})
}

// What can't be recorded is not done: no walk begins.
func TestNoWalkWithoutLedger(t *testing.T) {
	m := &walkman{takes: 500 * time.Millisecond}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(4 * time.Second)
		mend := w.breakLedger()
		if _, err := w.Actions.Judge(1, "helped"); err == nil {
			t.Fatal("the ledger is not broken")
		}
		before := len(m.plans)
		w.ticks(25 * time.Second)
		if before == 0 || len(m.plans) != before {
			t.Errorf("%d walks, then %d without a ledger", before, len(m.plans))
		}
		mend()
	})
}

// A decision on a value that has just changed is made again at once, not after a pause.
func TestStaleTimeoutIsDecidedAgain(t *testing.T) {
	m := &walkman{}
	shortening(t, m, func(w *gateway) {
		w.gone = 100 // what is sensed is not what is there
		w.ticks(3 * time.Second)
		w.want = 63_000
		w.ticks(3 * time.Second)
		if w.value(timeWait) != 120 {
			t.Fatalf("TIME_WAIT %d s", w.value(timeWait))
		}
		w.gone = 0
		w.kernel.Set(timeWait, "100")
		w.ticks(500 * time.Millisecond)
		if w.value(timeWait) != 10 {
			t.Errorf("TIME_WAIT %d s half a second later", w.value(timeWait))
		}
		w.wantLines(eventFailed, 0)
	})
}

// Our own table is walked, whatever an earlier run has left in force elsewhere.
func TestWalkStaysAtHome(t *testing.T) {
	const other = "/run/netns/other"
	m := &walkman{}
	shortening(t, m, func(w *gateway) {
		w.kernel.Set(udp+"@"+other, "30") // the namespace is there
		w.killedElsewhere(other)
		w.kernel.Remove(timeWait + "@" + other) // and can't be asked
		w.start()
		w.shortens(m)
		w.want = 63_000
		w.ticks(2 * time.Second)
		if len(m.plans) == 0 || m.plans[0].Namespace != "" || m.plans[0].Rules[timeout.TCPTimeWait].New != 10 {
			t.Errorf("walked %+v", m.plans)
		}
	})
}

// What an undo asks of a census in calm is what is in the table, not who fills it.
func TestUndoCountsNoConnections(t *testing.T) {
	m := &walkman{}
	shortening(t, m, func(w *gateway) {
		w.Config.Census.CountNew = policy.CountAlways
		w.want = 63_000
		w.ticks(3 * time.Second)
		w.want = 5000
		w.ticks(20 * time.Minute)
		newly := w.Scout.(*scout).newly
		if len(newly) < 2 || newly[0] != policy.CountAlways || newly[len(newly)-1] != policy.CountNever || w.value(timeWait) != 120 {
			t.Errorf("censuses counted %v, TIME_WAIT %d s", newly, w.value(timeWait))
		}
	})
}

// A rival who takes what a walk is made for ends it, and no other begins.
func TestRivalInTheWalk(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		w.kernel.Set(timeWait, "77")
		w.ticks(time.Minute)
		if len(m.plans) != 1 || len(m.ended) != 1 || w.value(timeWait) != 77 {
			t.Errorf("%d walks, %d ended, TIME_WAIT %d s", len(m.plans), len(m.ended), w.value(timeWait))
		}
		lines := w.wantLines(eventYielded, 1)
		if len(lines) == 1 && !strings.Contains(lines[0], `TARGET="timeout:tcp_timeout_time_wait" AFTER="10" FOUND="77"`) {
			t.Error(lines)
		}
		w.wantLines(eventFailed, 0)
	})
}

// The operator who takes the mandate back ends the walk, and has the timeouts as they were;
// with another mandate there is another walk.
func TestReloadEndsTheWalk(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		c := w.Config
		load := func() (config.File, error) { return config.File{Policy: c}, nil }
		wants := func(what string, seconds, walks int) {
			t.Helper()
			w.reload(load)
			w.ticks(10 * time.Second)
			if n := len(m.plans); w.value(timeWait) != seconds || n != walks {
				t.Errorf("%s: TIME_WAIT %d s, want %d; %d walks, want %d", what, w.value(timeWait), seconds, n, walks)
			}
		}
		c.ShortenTimeouts.Mode = policy.Advise
		wants("mode advise", 120, 1)
		if len(m.ended) != 1 {
			t.Errorf("%d walks have ended", len(m.ended))
		}
		c.ShortenTimeouts.Mode = policy.Act
		c.ShortenTimeouts.Floors[policy.TCPTimeWait].Floor = 20 * time.Second
		wants("a longer floor", 20, 2)
		c.ShortenTimeouts.Floors[policy.TCPTimeWait].Mode = policy.Advise
		wants("the class in mode advise", 120, 2)
		if walk := w.Actions.Changes()[0].Walk; walk.Done {
			t.Errorf("what was not walked over is done: %+v", walk)
		}
		c.ShortenTimeouts.Floors = policy.Default().ShortenTimeouts.Floors
		wants("as at first", 10, 3)
		if got := m.plans[2].Rules[timeout.TCPTimeWait].New; got != 10 {
			t.Errorf("the last walk to %d s", got)
		}
		w.wantLines(eventFailed, 0)
	})
}

// Where the table can't be read nothing goes on.
func TestBlindEndsTheWalk(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		w.err = errors.New("no such luck")
		w.ticks(3 * time.Second)
		w.err = nil
		m.takes = time.Second
		w.ticks(3 * time.Second)
		if len(m.plans) != 2 || len(m.ended) != 1 || !errors.Is(m.ended[0], errUnwatched) {
			t.Errorf("%d walks, ended: %v", len(m.plans), m.ended)
		}
		w.wantLines(eventFailed, 0)
	})
}

// A timeout that can be read and not be written is left alone for a while, and walks
// go on meanwhile.
func TestRefusedTimeout(t *testing.T) {
	m := &walkman{takes: 3 * time.Second}
	shortening(t, m, func(w *gateway) {
		w.want = 56_000 // level 1
		w.ticks(time.Second)
		w.kernel.Remove(timeWait)
		w.gone = 93
		w.want = 63_000
		w.ticks(30 * time.Second)
		if n := len(m.plans); n > 11 {
			t.Errorf("%d walks in 30 s", n)
		}
	})
}
