package guard

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// A rollback of timeouts comes when the walk over the entries has ended; the loop goes on
// meanwhile, and so does a rollback of something else.
func TestRollbackWaitsForTheWalk(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		answered := false
		w.serve(context.Background(), control.Request{Verb: control.Rollback, Restrictions: true, By: "alice"}, func(a *control.Answer, err error) {
			answered = true
			if err != nil || !strings.HasPrefix(a.Message, "1 change taken back") {
				t.Errorf("%+v, %v", a, err)
			}
		})
		if answered || w.value(timeWait) != 10 {
			t.Error("timeouts are given back under a walk")
		}
		w.ticks(2 * time.Second)
		if !answered || w.value(timeWait) != 120 || len(m.ended) != 1 {
			t.Errorf("answered %v, TIME_WAIT %d s, %d walks ended", answered, w.value(timeWait), len(m.ended))
		}
		w.ticks(time.Minute)
		if w.value(timeWait) != 120 {
			t.Error("shortened again within yield_for")
		}
	})
}

// A source that was set free by hand is not limited again for a while.
func TestRolledBackSourceIsFree(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.Config.Watch.YieldFor = 10 * time.Minute
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		if _, err := w.answerOf(control.Request{Verb: control.Rollback, Restrictions: true}); err != nil {
			t.Fatal(err)
		}
		w.ticks(9 * time.Minute)
		if got := w.leased.Value(limit); got != "" {
			t.Errorf("%s is %q", limit, got)
		}
		w.ticks(2 * time.Minute)
		if got := w.leased.Value(limit); got == "" {
			t.Error("free for ever")
		}
	})
}

// What waits for a walk goes on while the table can't be read, and ends with the daemon.
func TestRollbackWithoutReadings(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		answered := false
		w.serve(context.Background(), control.Request{Verb: control.Rollback, Restrictions: true, By: "alice"}, func(_ *control.Answer, err error) {
			answered = err == nil
		})
		w.err = errors.New("no such luck")
		w.ticks(3 * time.Second)
		if !answered || w.value(timeWait) != 120 {
			t.Errorf("answered %v, TIME_WAIT %d s", answered, w.value(timeWait))
		}
	})
}

func TestRollBack(t *testing.T) {
	o := &office{gateway: newGateway(t)}
	o.run(10*time.Second, 1000)
	o.run(8*time.Second, 120_000)
	o.wantMax(262144)
	o.refusal(control.Request{Verb: control.Rollback, Changes: []int{99}}, control.NotFound, "no change 99")
	a, err := o.ask(control.Request{Verb: control.Rollback, All: true})
	if err != nil || len(a.Failed) != 1 || a.Message != "nothing was taken back" {
		t.Errorf("under a full table: %+v, %v", a, err)
	}
	o.run(10*time.Second, 20_000)
	if a, err = o.ask(control.Request{Verb: control.Rollback, All: true}); err != nil || len(a.Failed) != 0 || !strings.HasPrefix(a.Message, "2 changes taken back; the guardian keeps off") {
		t.Fatalf("%+v, %v", a, err)
	}
	o.wantMax(65536)
	o.refusal(control.Request{Verb: control.Rollback, Changes: []int{1}}, control.Blocked, "not in force")
	for _, line := range o.wantLines(eventUndone, 2) {
		if !strings.Contains(line, "rolled back by hand, by alice (uid 1000)") {
			t.Error(line)
		}
	}
	o.run(5*time.Minute, 64_000)
	o.wantMax(65536) // an hour (yield_for) is not over
	if off := o.status().Yielded; len(off) != 2 || !off[0].RolledBack || off[0].Text != "raise nf_conntrack_max from 65,536 to 131,072: rolled back by hand, by alice (uid 1000)" {
		t.Errorf("kept off: %+v", off)
	}
	if a, err = o.ask(control.Request{Verb: control.Rollback, Restrictions: true}); err != nil || a.Message != "nothing of that is in force" || string(a.Changes) != "[]" {
		t.Errorf("%+v %s, %v", a, a.Changes, err)
	}
	o.run(time.Hour, 64_000)
	if o.value("net.netfilter.nf_conntrack_max") == 65536 {
		t.Error("the guardian keeps off for ever")
	}
}
