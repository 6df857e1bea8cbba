package guard

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// What can't be given back at the stop is said.
func TestStopThatCantLift(t *testing.T) {
	m := &walkman{takes: time.Second}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(5 * time.Second)
		w.kernel.SetReadOnly(true)
		w.liftAll()
		w.reportStopped()
		lines := w.wantLines(eventFailed, 2) // of the undo, and of the stop
		if len(lines) == 2 && !strings.Contains(lines[1], "change 1 could not be taken back: tcp_timeout_time_wait stay shortened until the next start") {
			t.Error(lines)
		}
		if lines := w.wantLines(eventStopped, 1); len(lines) == 1 && !strings.Contains(lines[0], "nothing of ours") {
			t.Error(lines)
		}
		w.kernel.SetReadOnly(false)
	})
}

// killedElsewhere ends a run that has shortened a timeout in another namespace.
func (w *gateway) killedElsewhere(namespace string) {
	w.t.Helper()
	w.kernel.Set(timeWait+"@"+namespace, "120")
	d := policy.Decision{Measure: policy.ShortenTimeouts, To: 4, Timeouts: []policy.TimeoutChange{{Name: "tcp_timeout_time_wait", From: 120, To: 10}}}
	c, err := plan(d, namespace)
	if err == nil {
		_, err = w.Actions.Do(c)
	}
	if err != nil || w.value(timeWait+"@"+namespace) != 10 {
		w.t.Fatal(err)
	}
	w.leave()
	w.kill()
}

// Timeouts that an earlier run has shortened in a namespace that is not guarded any
// more are given back at the start: nobody else would.
func TestOtherNamespaceIsLifted(t *testing.T) {
	const other = "/run/netns/other"
	m := &walkman{}
	shortening(t, m, func(w *gateway) {
		w.killedElsewhere(other)
		w.start()
		w.shortens(m)
		if got := w.value(timeWait + "@" + other); got != 120 {
			t.Errorf("TIME_WAIT %d s in a namespace that is not guarded", got)
		}
		w.wantLines(eventUndone, 1)
	})
}

// What can't be given back there is tried again, and our own table is walked.
func TestOtherNamespaceStays(t *testing.T) {
	const other = "/run/netns/other"
	m := &walkman{}
	shortening(t, m, func(w *gateway) {
		w.killedElsewhere(other)
		w.kernel.SetAround(func(name, _ string, do func() error) error {
			if name == timeWait+"@"+other {
				return errors.New("no such luck")
			}
			return do()
		})
		w.start()
		w.shortens(m)
		w.want = 63_000
		w.ticks(2 * time.Second)
		w.want = 60_000
		w.ticks(28 * time.Second)
		if w.value(timeWait) != 10 || len(m.plans) != 1 || m.plans[0].Namespace != "" {
			t.Errorf("TIME_WAIT %d s, walked %+v", w.value(timeWait), m.plans)
		}
		w.kernel.SetAround(nil)
		w.ticks(11 * time.Second)
		if got := w.value(timeWait + "@" + other); got != 120 {
			t.Errorf("TIME_WAIT %d s in a namespace that is not guarded", got)
		}
		w.wantLines(eventFailed, 1)
		w.wantLines(eventUndone, 1)
	})
}
