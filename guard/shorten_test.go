package guard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A walkman walks as it is told, and keeps the plans.
type walkman struct {
	plans  []entries.Plan
	takes  time.Duration
	err    error
	note   string  // why it is not done
	ended  []error // the walks that were called off
	before func()
}

func (m *walkman) walk(ctx context.Context, p entries.Plan) (r entries.Result, err error) {
	m.plans = append(m.plans, p)
	if m.before != nil {
		m.before()
	}
	select {
	case <-ctx.Done():
		m.ended = append(m.ended, context.Cause(ctx))
		return r, ctx.Err() // as a library below may
	case <-time.After(m.takes):
	}
	if m.err != nil {
		return r, m.err
	}

	r.Done, r.Note, r.Read, r.Took = m.note == "", m.note, 60_000, m.takes.Seconds()
	r.Classes = []entries.Count{{Class: timeout.TCPTimeWait, Deleted: 40_000, Retimed: 700}}
	return r, nil
}

// shortening runs a test on a table of churn that may not grow.
func shortening(t *testing.T, m *walkman, check func(w *gateway)) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		w.shortens(m)
		w.want = 1000
		w.ticks(5 * time.Second)
		check(w)
		w.dismiss()
		if err := w.awaitWalk(errStopping); err != nil {
			t.Error(err)
		}
	})
}

// shortens gives the guard a scout that finds TIME_WAITs, and a walk.
func (w *gateway) shortens(m *walkman) {
	w.Config.RaiseMax.Ceiling = 65536
	w.Config.Census.CountNew = policy.CountNever
	found := sense.Sight{Census: policy.Census{Read: 20_000, Table: 60_000, Closing: policy.Share{Share: 0.8, Low: 0.79, High: 0.81}}}
	found.Census.Classes[policy.TCPTimeWait] = found.Census.Closing
	w.Scout = &scout{sight: found, clock: func() time.Duration { return w.now }}
	w.Walk = m.walk
}

func TestTimeoutsAreShortenedAndGivenBack(t *testing.T) {
	m := &walkman{takes: time.Second}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(1500 * time.Millisecond)
		if w.value(timeWait) != 10 || w.value(udp) != 30 || len(m.plans) != 1 {
			t.Fatalf("TIME_WAIT %d s, UDP %d s, %d walks", w.value(timeWait), w.value(udp), len(m.plans))
		}
		p := m.plans[0]
		if r := p.Rules[timeout.TCPTimeWait]; r.New != 10 || len(r.Was) != 2 || p.Rules[timeout.UDP].New != 0 {
			t.Errorf("planned %+v", p.Rules)
		}
		if p.Until != 32_768 || !p.Retime || p.Established || p.Budget != 500_000 {
			t.Errorf("planned %+v", p)
		}
		w.want = 20_000 // the walk ends
		w.ticks(10 * time.Second)
		for _, line := range w.wantLines(eventDone, 1) {
			for _, want := range []string{
				"change 1: shorten timeouts to level 4 of 4: tcp_timeout_time_wait 2m → 10s: 63,000 of 65,536 entries (96 %)",
				`LEVEL="4"`, `TARGET="timeout:tcp_timeout_time_wait"`, `BEFORE="120"`, `AFTER="10"`, `MEASURE="shorten-timeouts"`,
			} {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %s", want, line)
				}
			}
		}
		for _, line := range w.wantLines(eventJudged, 1) {
			for _, want := range []string{
				"change 1 helped: 40,000 entries deleted, 700 end sooner; nothing lost since",
				`CLASS="tcp_timeout_time_wait"`, `DELETED="40000"`, `RETIMED="700"`, `TOOK="1.000"`, `READ="60000"`,
			} {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %s", want, line)
				}
			}
		}
		w.want = 5000
		w.ticks(20 * time.Minute)
		if w.value(timeWait) != 120 || len(m.plans) != 1 {
			t.Errorf("TIME_WAIT %d s in the end, %d walks", w.value(timeWait), len(m.plans))
		}
		for _, line := range w.wantLines(eventUndone, 1) {
			if want := "change 1 undone: give timeouts back: tcp_timeout_time_wait 10s → 2m: 5,000 entries (8 %) for 10m, about "; !strings.Contains(line, want) {
				t.Errorf("no %q in %s", want, line)
			}
		}
		w.wantLines(eventFailed, 0)
	})
}

// A table that is full all the same is walked again and again, and the effect is judged
// nevertheless.
func TestFullTableIsWalkedAgain(t *testing.T) {
	m := &walkman{takes: 500 * time.Millisecond}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(30 * time.Second)
		if n := len(m.plans); n < 7 || n > 10 {
			t.Errorf("%d walks in 30 s", n)
		}
		w.wantLines(eventJudged, 1)
		if c := w.Actions.Changes()[0]; !c.Walk.Done || c.Walk.Running || c.Walk.Walks > len(m.plans) {
			t.Errorf("%d walks, the ledger has %+v", len(m.plans), c.Walk)
		}
		w.wantLines(eventFailed, 0)
	})
}

// No walk goes on under timeouts that it does not know.
func TestWalkEndsBeforeTimeoutsChange(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 56_000 // level 1
		w.ticks(time.Second)
		m.before = func() {
			if n := len(m.ended); n != len(m.plans)-1 {
				t.Errorf("walk %d begins, %d have ended", len(m.plans), n)
			}
		}
		first := w.value(timeWait)
		w.want = 63_000
		w.ticks(5 * time.Second)
		if first != 93 || w.value(timeWait) != 10 || len(m.plans) != 2 || len(m.ended) != 1 || !errors.Is(m.ended[0], errHalted) {
			t.Fatalf("TIME_WAIT %d s, then %d s, %d walks, ended: %v", first, w.value(timeWait), len(m.plans), m.ended)
		}
		all := w.Actions.Changes()
		if len(all) != 2 || all[0].Walk == nil || all[0].Walk.Walks != 2 || all[1].Walk == nil || !all[1].Walk.Running {
			t.Errorf("the ledger has %+v", all)
		}
		w.wantLines(eventFailed, 0)
	})
}

// What the stopping daemon leaves is capacity: the walk ends, the timeouts are what
// they were.
func TestStopLiftsRestrictions(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.Config.RaiseMax.Ceiling, w.Config.RaiseMax.Step = 70_000, 2
		w.want = 63_000
		w.ticks(5 * time.Second)
		w.want = 69_000
		w.ticks(5 * time.Second)
		if w.value(timeWait) != 10 || len(m.plans) == 0 {
			t.Fatalf("TIME_WAIT %d s, %d walks", w.value(timeWait), len(m.plans))
		}
		w.leave()
		w.liftAll()
		if w.value(timeWait) != 120 {
			t.Errorf("TIME_WAIT %d s after the stop", w.value(timeWait))
		}
		w.wantMax(70_000)
		for _, c := range w.Actions.Changes() {
			if c.Measure == "shorten-timeouts" && (c.State != ledger.Undone || c.Walk != nil && c.Walk.Running) {
				t.Errorf("left %+v", c)
			}
		}
		w.wantLines(eventFailed, 0)
		w.live()
	})
}

// After a kill in the walk the next run walks again.
func TestKilledInTheWalk(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(5 * time.Second)
		w.leave() // the goroutine ends with its process
		synctest.Wait()
		w.kill()
		w.start()
		if walk := w.Actions.Changes()[0].Walk; walk.Running || walk.Note != "the daemon ended before it" {
			t.Errorf("after the restart the walk is %+v", walk)
		}
		m.takes = time.Second
		w.shortens(m)
		w.want = 60_000
		w.ticks(5 * time.Second)
		all := w.Actions.Changes()
		if len(m.plans) != 2 || len(all) != 1 || !all[0].Walk.Done || all[0].Walk.Walks != 2 {
			t.Errorf("%d walks, the ledger has %+v", len(m.plans), all)
		}
		if len(all) == 1 && !slices.ContainsFunc(m.plans[1].Rules[timeout.TCPTimeWait].Was, func(w entries.Was) bool { return w.Timeout == 10 && w.Retimed }) {
			t.Errorf("the second walk takes no entry for re-timed: %+v", m.plans[1].Rules[timeout.TCPTimeWait])
		}
		w.want = 1000
		w.ticks(20 * time.Minute)
		if w.value(timeWait) != 120 {
			t.Errorf("TIME_WAIT %d s in the end", w.value(timeWait))
		}
	})
}

// A walk that fails is said once and tried again. One that found the pressure gone
// goes on when it is back.
func TestWalkFails(t *testing.T) {
	m := &walkman{err: errors.New("no such luck")}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(45 * time.Second)
		if n := len(m.plans); n < 4 || n > 5 {
			t.Errorf("%d walks in 45 s", n)
		}
		if lines := w.wantLines(eventFailed, 1); len(lines) == 1 && !strings.Contains(lines[0], "change 1: not all entries that exist end sooner: no such luck") {
			t.Error(lines)
		}
		m.err, m.note = nil, "the pressure is gone: 30,000 entries are left"
		w.ticks(11 * time.Second)
		w.want = 30_000
		w.ticks(time.Minute)
		walks := len(m.plans)
		m.note = ""
		w.want = 60_000
		w.ticks(time.Minute)
		if c := w.Actions.Changes()[0]; len(m.plans) <= walks || !c.Walk.Done {
			t.Errorf("%d walks, then %d; %+v", walks, len(m.plans), c.Walk)
		}
		w.wantLines(eventFailed, 1)
	})
}

// With one of two timeouts taken by somebody else the other is still given back.
func TestRivalTakesOneTimeout(t *testing.T) {
	m := &walkman{takes: time.Second}
	shortening(t, m, func(w *gateway) {
		found := w.Scout.(*scout)
		found.sight.Census.Classes[policy.UDP] = found.sight.Census.Closing
		w.want = 63_000
		w.ticks(3 * time.Second)
		if w.value(timeWait) != 10 || w.value(udp) != 10 {
			t.Fatalf("TIME_WAIT %d s, UDP %d s", w.value(timeWait), w.value(udp))
		}
		w.kernel.Set(udp, "77")
		w.ticks(time.Minute)
		if lines := w.wantLines(eventYielded, 1); len(lines) == 1 && !strings.Contains(lines[0], "we made udp_timeout 10s, somebody else 1m17s") {
			t.Error(lines)
		}
		w.want = 1000
		w.ticks(20 * time.Minute)
		if w.value(timeWait) != 120 || w.value(udp) != 77 {
			t.Errorf("TIME_WAIT %d s, UDP %d s in the end", w.value(timeWait), w.value(udp))
		}
		w.wantLines(eventUndone, 1)
	})
}
