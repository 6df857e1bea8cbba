package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// answerOf asks in a bubble of time.
func (w *gateway) answerOf(r control.Request) (answer *control.Answer, err error) {
	w.t.Helper()
	r.By = "alice"
	answered := false
	w.serve(context.Background(), r, func(a *control.Answer, e error) { answer, err, answered = a, e, true })
	for range 300 {
		if answered {
			return answer, err
		}
		w.ticks(100 * time.Millisecond)
	}
	w.t.Fatalf("no answer to %+v", r)
	return nil, nil
}

// hogs runs a test on a table that may not grow, with so many hogs of a share each.
func hogs(t *testing.T, n int, share float64, check func(w *gateway, s *scout)) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		found := sense.Sight{Counting: true, Census: policy.Census{Read: 20_000, Table: 60_000, Counted: true, New: 20_000}}
		for i := range n {
			found.Census.Sources[i] = policy.Holder{
				Prefix: netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", i+1)),
				Share:  policy.Share{Share: share, Low: share - 0.001, High: share + 0.001}, New: 5000, Steady: 5000,
			}
		}
		s, a := &scout{sight: found}, &allowlist{}
		w.limits(s, a)
		w.Config.LimitSource.Share, w.Config.LimitSource.MaxSources = 0.02, 64
		w.want = 1000
		w.ticks(5 * time.Second)
		check(w, s)
		w.dismiss()
	})
}

// What the kernel refused may be approved again at once.
func TestApproveAfterRefusal(t *testing.T) {
	o, id := advised(t)
	o.kernel.SetReadOnly(true)
	o.refusal(control.Request{Verb: control.Approve, ID: id}, control.Blocked, "it was tried and failed: ")
	o.kernel.SetReadOnly(false)
	if a, err := o.ask(control.Request{Verb: control.Approve, ID: id}); err != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if c, _ := o.Ledger.Find(2); c.State != ledger.Applied {
		t.Errorf("%+v", c)
	}
	if _, err := o.ask(control.Request{Verb: control.Rollback, All: true, Force: true}); err != nil {
		t.Fatal(err)
	}
	o.run(10*time.Second, 60_000)
	o.wantMax(65536)
	if list := o.status().Advice; len(list) != 1 || list[0].ID != id {
		t.Errorf("what was rolled back can't be approved: %+v", list)
	}
	if a, err := o.ask(control.Request{Verb: control.Approve, ID: id}); err != nil {
		t.Errorf("approved again: %+v, %v", a, err)
	}
}

// A limit is approved beyond the acts of an hour, and after the pause in which it was
// advised.
func TestApproveLimit(t *testing.T) {
	for name, set := range map[string]func(w *gateway){
		"beyond the acts": func(w *gateway) { w.Config.ActsPerHour.LimitSource = 1 },
		"after a pause": func(w *gateway) {
			w.Config.Mode, w.paused = policy.Advise, paused{Until: w.now + 10*time.Second, Text: "paused by bob"}
		},
		"after observing": func(w *gateway) { w.Config.Mode = policy.Observe },
	} {
		hogs(t, 4, 0.2, func(w *gateway, _ *scout) {
			set(w)
			w.want = 63_000
			w.ticks(8 * time.Second)
			if name == "after observing" {
				c := w.Config
				c.Mode = policy.Advise
				w.reload(func() (config.File, error) { return config.File{Policy: c}, nil })
			}
			w.ticks(8 * time.Second)
			id := ""
			for _, a := range w.state.Advice {
				if a.Measure == policy.LimitSource && a.Verb != policy.Do {
					id = a.ID
				}
			}
			before := len(w.leases())
			if a, err := w.answerOf(control.Request{Verb: control.Approve, ID: id}); err != nil || len(w.leases()) != before+1 {
				t.Errorf("%s: %s: %+v, %v, %d leases", name, id, a, err, len(w.leases()))
			}
		})
	}
}

// All that may be wanted at once is advised once, and can be approved.
func TestManyAreAdvisedOnce(t *testing.T) {
	hogs(t, 40, 0.024, func(w *gateway, _ *scout) {
		w.Config.Mode = policy.Advise
		w.want = 63_000
		w.ticks(5 * time.Minute)
		w.wantLines(eventAdvised, 40)
		w.wantLines(eventRanked, 1)
		if n := len(w.status().Advice); n != 40 {
			t.Errorf("%d can be approved", n)
		}
		w.want = 1000
		w.ticks(time.Minute)
		for _, a := range w.status().Advice {
			if a.Due {
				t.Fatalf("due in calm: %+v", a)
			}
		}
	})
}

// Who has gone does not want anything any more.
func TestClientIsGone(t *testing.T) {
	hogs(t, 2, 0.2, func(w *gateway, _ *scout) {
		w.Config.Mode = policy.Advise
		w.want = 63_000
		w.ticks(20 * time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		w.serve(ctx, control.Request{Verb: control.Approve, ID: w.status().Advice[0].ID, By: "alice"}, func(*control.Answer, error) {
			t.Error("answered")
		})
		cancel()
		w.ticks(30 * time.Second)
		if len(w.leases()) != 0 || len(w.approvals) != 0 {
			t.Errorf("%d leases, %d approvals", len(w.leases()), len(w.approvals))
		}
	})
}

// A lease that is made again on other terms is no further act, and no reason to hold it
// longer.
func TestReloadsAreNoActs(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(5 * time.Second)
		for i := range 8 {
			c := w.Config
			c.LimitSource.Rate = 51 + i
			w.reload(func() (config.File, error) { return config.File{Policy: c}, nil })
			w.ticks(2 * time.Second)
		}
		if got := w.leased.Value(limit); got != "58/s burst 100 lease 15s" {
			t.Errorf("%s is %q", limit, got)
		}
		if got := w.state.Acts(policy.LimitSource); got.Used != 1 {
			t.Errorf("%+v", got)
		}
		w.want, w.refuse = 1000, 0
		w.ticks(25 * time.Second) // the hold is 20 s
		if got := w.leased.Value(limit); got != "" {
			t.Errorf("held on: %q", got)
		}
	})
}

// What was approved does not take the place of what counts as an act.
func TestRecallKeepsActs(t *testing.T) {
	var all []ledger.Change
	for i := range 150 {
		c := ledger.Change{ID: i + 1, Boot: "b", Measure: string(policy.RaiseMax), State: ledger.Undone, Edits: []ledger.Edit{{Key: "k", Before: "1", After: "2"}}}
		if i >= 60 {
			c.ApprovedBy = "alice"
		}
		all = append(all, c)
	}
	counted := 0
	for _, c := range Recall(all, "b", "") {
		if c.ApprovedBy == "" {
			counted++
		}
	}
	if counted != 60 {
		t.Errorf("%d of 60 acts are recalled", counted)
	}
}

// Requests at once do not have the table read faster than its growth can be told.
func TestRequestsDontHasteReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		base, began := w.now, time.Now()
		w.Clock = func() time.Duration { return base + time.Since(began) }
		var reads []time.Time
		w.Sensor = reader(func(s *policy.Snapshot) error {
			reads = append(reads, time.Now())
			s.Max, s.Buckets, s.Count = 65536, 65536, 1000
			return nil
		})
		w.Desk = NewDesk()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.Run(ctx, &Notifier{send: func(string) bool { return true }}, Inputs{}) }()
		time.Sleep(time.Second)
		for range 50 {
			if _, err := w.Desk.Do(ctx, control.Request{Verb: control.Pause, For: time.Hour, By: "alice"}); err != nil {
				t.Error(err)
			}
			_, err := w.Desk.Do(ctx, control.Request{Verb: control.Approve, ID: "raise-max-00000", By: "alice"})
			var r *control.Refusal
			if !errors.As(err, &r) || r.Code != control.NotFound {
				t.Error(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-done
		for i := range reads[1:] {
			if apart := reads[i+1].Sub(reads[i]); apart < policy.MinPause {
				t.Fatalf("readings %s apart", apart)
			}
		}
	})
}

type reader func(*policy.Snapshot) error

func (r reader) Read(s *policy.Snapshot) error { return r(s) }

// A reload with another prefix length, or without a flow, ends at once what is of the old
// terms, though nobody decides about it.
func TestReloadEndsWhatDoesNotFit(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		c := w.Config
		c.LimitSource.IPv4Bits = 24
		w.reload(func() (config.File, error) { return config.File{Policy: c}, nil })
		if got := w.leased.Value(limit); got != "" {
			t.Errorf("%s is %q before the next reading", limit, got)
		}
	})
}

// One approval of a piece of advice is enough.
func TestApprovedTwiceAtOnce(t *testing.T) {
	hogs(t, 2, 0.2, func(w *gateway, _ *scout) {
		w.Config.Mode = policy.Advise
		w.want = 63_000
		w.ticks(20 * time.Second)
		r := control.Request{Verb: control.Approve, ID: w.status().Advice[0].ID, By: "alice"}
		var first, second error
		answered := 0
		w.serve(context.Background(), r, func(_ *control.Answer, err error) { first, answered = err, answered+1 })
		w.serve(context.Background(), r, func(_ *control.Answer, err error) { second, answered = err, answered+1 })
		w.ticks(5 * time.Second)
		var refusal *control.Refusal
		if answered != 2 || first != nil || !errors.As(second, &refusal) || refusal.Code != control.Blocked || len(w.leases()) != 1 {
			t.Errorf("%d answers: %v, %v; %d leases", answered, first, second, len(w.leases()))
		}
	})
}

// An approval for which no census comes is refused when it has waited long enough.
func TestApprovalWithoutCensus(t *testing.T) {
	hogs(t, 2, 0.2, func(w *gateway, s *scout) {
		w.Config.Mode = policy.Advise
		w.want = 63_000
		w.ticks(20 * time.Second)
		s.err = errors.New("no such luck")
		began := w.now
		_, err := w.answerOf(control.Request{Verb: control.Approve, ID: w.status().Advice[0].ID})
		var refusal *control.Refusal
		if !errors.As(err, &refusal) || refusal.Code != control.Blocked || !strings.Contains(refusal.Message, "no fresh census") {
			t.Errorf("%v", err)
		}
		if waited := w.now - began; waited < approvalPatience || waited > longestPatience+time.Second {
			t.Errorf("after %s", waited)
		}
	})
}

// A walk for timeouts that an operator has approved is made in mode advise.
func TestApprovedWalk(t *testing.T) {
	m := &walkman{}
	shortening(t, m, func(w *gateway) {
		w.Config.Mode = policy.Advise
		w.want = 63_000
		w.ticks(5 * time.Second)
		id := ""
		for _, a := range w.status().Advice {
			if a.Measure == policy.ShortenTimeouts && a.Due {
				id = a.ID
			}
		}
		if a, err := w.answerOf(control.Request{Verb: control.Approve, ID: id}); err != nil {
			t.Fatalf("%s: %+v, %v", id, a, err)
		}
		w.ticks(3 * time.Second)
		if len(m.plans) == 0 || m.plans[0].Rules[timeout.TCPTimeWait].New != 10 || w.value(timeWait) != 10 {
			t.Errorf("%d walks, TIME_WAIT %d s", len(m.plans), w.value(timeWait))
		}
		c := w.Config
		c.Mode = policy.Observe
		w.reload(func() (config.File, error) { return config.File{Policy: c}, nil })
		w.ticks(2 * time.Second)
		if w.value(timeWait) != 120 {
			t.Errorf("TIME_WAIT %d s in mode observe", w.value(timeWait))
		}
	})
}
