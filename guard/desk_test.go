package guard

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// An office is a gateway that operators ask.
type office struct {
	*gateway
	got []*control.Answer
	err []error
}

func (o *office) ask(r control.Request) (*control.Answer, error) {
	o.t.Helper()
	r.By = "alice (uid 1000)"
	n := len(o.got)
	o.serve(o.t.Context(), r, func(a *control.Answer, err error) { o.got, o.err = append(o.got, a), append(o.err, err) })
	for range 200 {
		if len(o.got) > n {
			return o.got[n], o.err[n]
		}
		pause, _ := o.Tick()
		o.now += pause
	}
	o.t.Fatalf("no answer to %+v", r)
	return nil, nil
}

func (o *office) refusal(r control.Request, code control.Code, text string) {
	o.t.Helper()
	a, err := o.ask(r)
	var refusal *control.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code || !strings.Contains(refusal.Message, text) {
		o.t.Errorf("%+v: %+v, %#v; want %s %q", r, a, err, code, text)
	}
}

// advised is a gateway in mode advise, with a table that fills.
func advised(t *testing.T) (*office, string) {
	o := &office{gateway: newGateway(t)}
	o.Config.Mode = policy.Advise
	o.run(10*time.Second, 1000)
	o.run(8*time.Second, 60_000)
	list := o.status().Advice
	if len(list) == 0 || list[0].Measure != policy.RaiseMax || !list[0].Due || !strings.HasPrefix(list[0].Text, "raise nf_conntrack_max from 65,536 to") {
		t.Fatalf("advice %+v", list)
	}
	return o, list[0].ID
}

func TestApprove(t *testing.T) {
	o, id := advised(t)
	o.wantLines(eventAdvised, 1)
	a, err := o.ask(control.Request{Verb: control.Approve, ID: id})
	if err != nil || !strings.HasPrefix(a.Message, "change 1 made: raise nf_conntrack_max from 65,536 to ") {
		t.Fatalf("%+v, %v", a, err)
	}
	var made []ledger.Change
	if err := json.Unmarshal(a.Changes, &made); err != nil || len(made) != 1 || made[0].ID != 1 || made[0].ApprovedBy != "alice (uid 1000)" {
		t.Errorf("%s, %v", a.Changes, err)
	}
	if c, _ := o.Ledger.Find(1); c.ApprovedBy != "alice (uid 1000)" || c.State != ledger.Applied {
		t.Errorf("%+v", c)
	}
	for _, line := range o.wantLines(eventDone, 1) {
		if !strings.Contains(line, "; approved by alice (uid 1000)") || !strings.Contains(line, `APPROVED_BY="alice (uid 1000)"`) || !strings.Contains(line, `ADVICE_ID="`+id+`"`) {
			t.Error(line)
		}
	}
	o.refusal(control.Request{Verb: control.Approve, ID: id}, control.Stale, "it has been done")
	o.refusal(control.Request{Verb: control.Approve, ID: "raise-max-12345"}, control.NotFound, "there is no such advice")
	o.wantLines(eventNotApproved, 1) // what is made up is nobody's business
	if list := o.status().Advice; slices.ContainsFunc(list, func(a control.Advice) bool { return a.ID == id }) {
		t.Errorf("still advised: %+v", list)
	}
}

// An approval that the kernel, the disk or the reading speaks against is answered so.
func TestApproveInVain(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(o *office)
		code control.Code
		text string
	}{
		"kernel refuses": {func(o *office) { o.kernel.SetReadOnly(true) }, control.Blocked, "it was tried and failed: "},
		"blind":          {func(o *office) { o.blinded(errors.New("no such luck")) }, control.Blocked, "no such luck"},
		"no ledger":      {func(o *office) { o.breakLedger(); o.run(time.Second, 60_000) }, control.Blocked, ""},
		"passed":         {func(o *office) { o.run(30*time.Second, 1000) }, control.Stale, "it is not wanted now"},
	} {
		t.Run(name, func(t *testing.T) {
			o, id := advised(t)
			tc.set(o)
			o.refusal(control.Request{Verb: control.Approve, ID: id}, tc.code, tc.text)
			if len(o.approvals) != 0 {
				t.Errorf("%d approvals pending", len(o.approvals))
			}
			o.wantMax(65536)
		})
	}
}

func (o *office) blinded(err error) { o.gateway.err = err }

// A reload that somebody asks for is answered with what came of it; one that is asked for
// while the file is being read has it read again.
func TestReloadFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{gateway: newGateway(t)}
		reads, fail := 0, false
		o.Load = func() watch.Loaded {
			reads++
			time.Sleep(time.Second)
			if fail {
				return watch.Loaded{Order: uint64(reads), Err: config.Problems{{File: "f", Line: 3, Col: 1, Key: "a", Message: "m"}, {File: "f", Line: 9, Col: 1, Key: "b", Message: "n"}}}
			}
			f := config.Default()
			f.Hash = "abc"
			return watch.Loaded{Order: uint64(reads), File: f}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done, desk := make(chan error), NewDesk()
		o.Desk = desk
		go func() { done <- o.Run(ctx, &Notifier{send: func(string) bool { return true }}, Inputs{}) }()
		var answers [2]*control.Answer
		go func() { answers[0], _ = desk.Do(ctx, control.Request{Verb: control.Reload}) }()
		time.Sleep(500 * time.Millisecond)
		answers[1], _ = desk.Do(ctx, control.Request{Verb: control.Reload})
		synctest.Wait()
		if reads != 2 || answers[0] == nil || answers[1] == nil || answers[1].Message != "policy in force from a test, mode advise" {
			t.Errorf("%d reads, %+v", reads, answers)
		}
		fail = true
		_, err := desk.Do(ctx, control.Request{Verb: control.Reload})
		var refusal *control.Refusal
		if !errors.As(err, &refusal) || refusal.Code != control.Rejected || !slices.Equal(refusal.Lines, []string{"f:3:1: a: m", "f:9:1: b: n"}) {
			t.Errorf("%#v", err)
		}
		s, err := desk.Status(ctx)
		if err != nil || len(s.Policy.Problems) != 2 || s.Policy.Hash != "abc" || s.Mode != "advise" {
			t.Errorf("%+v, %v", s, err)
		}
		short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		if _, err := desk.Do(short, control.Request{Verb: control.Reload}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no patience: %v", err)
		}
		time.Sleep(2 * time.Second) // the read that nobody waits for
		cancel()
		<-done
		if _, err := desk.Status(ctx); err == nil {
			t.Error("a status of a daemon that has stopped")
		}
	})
}

// The policy that is in force is no news: nothing is said again for it.
func TestTakeTheSame(t *testing.T) {
	o, _ := advised(t)
	f := config.File{Policy: o.Config, Hash: "abc"}
	for i := range 3 {
		if err := o.take(watch.Loaded{File: f, Order: uint64(i + 1)}); err != nil {
			t.Error(err)
		}
		o.run(5*time.Second, 60_000)
	}
	o.wantLines(eventReloaded, 3)
	o.wantLines(eventAdvised, 2) // the first was another policy
}

// What is refused from outside is not put in force, and an older file does not replace a newer.
func TestTake(t *testing.T) {
	w := newGateway(t)
	no := true
	w.Admit = func(config.File) error {
		if no {
			return errors.New("there is no group wheel")
		}
		return nil
	}
	f := config.Default()
	if err := w.take(watch.Loaded{File: f, Order: 5}); err == nil || w.Config.Mode != policy.Act {
		t.Errorf("%v, mode %s", err, w.Config.Mode)
	}
	w.wantLines(eventRejected, 1)
	no = false
	if err := w.take(watch.Loaded{File: f, Order: 7}); err != nil || w.Config.Mode != policy.Advise || len(w.status().Policy.Problems) != 0 {
		t.Errorf("%v, mode %s", err, w.Config.Mode)
	}
	f.Policy.Mode = policy.Act
	if err := w.take(watch.Loaded{File: f, Order: 6}); err != nil || w.Config.Mode != policy.Advise {
		t.Errorf("an older file is in force: %v", err)
	}
}
