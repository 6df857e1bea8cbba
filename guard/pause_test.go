package guard

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// While paused nothing changes in either direction, and a restart of the daemon changes
// nothing about that.
func TestPause(t *testing.T) {
	o := &office{gateway: newGateway(t)}
	o.StateDir = o.dir
	o.run(10*time.Second, 1000)
	a, err := o.ask(control.Request{Verb: control.Pause, For: time.Hour})
	if err != nil || a.Until == nil || len(a.Lines) != 0 || !strings.HasPrefix(a.Message, "nothing is changed until ") {
		t.Fatalf("%+v, %v", a, err)
	}
	o.run(8*time.Second, 60_000)
	o.wantMax(65536)
	if s := o.status(); s.Paused == nil || s.Paused.By != "alice (uid 1000)" || !strings.Contains(o.Status(), "paused by alice (uid 1000) until") {
		t.Errorf("%+v, %q", s.Paused, o.Status())
	}
	o.kill()
	o.start()
	o.StateDir = o.dir
	o.recallPause()
	o.reportStarted()
	if line := o.wantLines(eventStarted, 1); len(line) == 1 && !strings.Contains(line[0], ", paused by alice (uid 1000) until ") {
		t.Error(line)
	}
	o.run(5*time.Second, 60_000)
	o.wantMax(65536)
	if _, err := o.ask(control.Request{Verb: control.Resume}); err != nil {
		t.Fatal(err)
	}
	o.run(5*time.Second, 60_000)
	if o.value("net.netfilter.nf_conntrack_max") == 65536 {
		t.Error("nothing is done after the pause")
	}
	o.refusal(control.Request{Verb: control.Resume}, control.Blocked, "no pause")
	o.kill()
	o.start()
	o.StateDir = o.dir
	o.recallPause()
	if o.paused != (paused{}) {
		t.Errorf("a pause that was ended is back: %+v", o.paused)
	}
}

// A pause ends by itself, and none is recalled that is damaged, over, or of another boot.
func TestPauseEnds(t *testing.T) {
	o := &office{gateway: newGateway(t)}
	o.StateDir = o.dir
	if _, err := o.ask(control.Request{Verb: control.Pause, For: time.Minute}); err != nil {
		t.Fatal(err)
	}
	o.run(2*time.Minute, 1000)
	o.wantLines(eventResumed, 1)
	for name, text := range map[string]string{
		"damaged":      `{"boot":`,
		"over":         `{"boot":"` + thisBoot + `","until":1,"by":"x","text":"y"}`,
		"another boot": `{"boot":"99999999-2222-3333-4444-555555555555","until":3600000000000,"by":"x","text":"y"}`,
		"for ever":     `{"boot":"` + thisBoot + `","until":9000000000000000000,"by":"x","text":"y"}`,
		"no time":      `{"boot":"` + thisBoot + `","until":-1}`,
	} {
		if err := writeState(o.dir, pauseFile, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if o.recallPause(); o.paused != (paused{}) {
			t.Errorf("%s: %+v", name, o.paused)
		}
	}
}

// A walk that is under way when the pause begins ends, and another one begins after it.
func TestPauseEndsTheWalk(t *testing.T) {
	m := &walkman{takes: time.Hour}
	shortening(t, m, func(w *gateway) {
		w.want = 63_000
		w.ticks(3 * time.Second)
		if _, err := w.pause(control.Request{Verb: control.Pause, For: time.Minute, By: "root"}); err != nil {
			t.Fatal(err)
		}
		w.ticks(30 * time.Second)
		if len(m.plans) != 1 || len(m.ended) != 1 || w.value(timeWait) != 10 {
			t.Errorf("in the pause: %d walks, %d ended, TIME_WAIT %d s", len(m.plans), len(m.ended), w.value(timeWait))
		}
		w.ticks(40 * time.Second)
		if len(m.plans) != 2 {
			t.Errorf("after the pause: %d walks", len(m.plans))
		}
		w.wantLines(eventFailed, 0)
	})
}

// So does the deletion of what a source has without a reply.
func TestPauseEndsAPrune(t *testing.T) {
	limiting(t, func(w *gateway, s *scout, _ *allowlist) {
		begun, ended := 0, 0
		w.Prune = func(ctx context.Context, _ string, _ netip.Prefix) (int, error) {
			begun++
			select {
			case <-ctx.Done():
				ended++
				return 100, context.Cause(ctx)
			case <-time.After(10 * time.Minute):
				return 0, errors.New("nobody ended it")
			}
		}
		w.Config.LimitSource.Escalation, w.Config.LimitSource.EscalateAfter = policy.DeleteUnreplied, 1
		w.want, w.refuse = 63_000, 18_950
		w.ticks(time.Minute)
		if begun != 1 {
			t.Fatalf("%d deletions", begun)
		}
		if _, err := w.pause(control.Request{Verb: control.Pause, For: time.Minute, By: "root"}); err != nil {
			t.Fatal(err)
		}
		w.ticks(50 * time.Second)
		if begun != 1 || ended != 1 {
			t.Errorf("in the pause: %d begun, %d ended", begun, ended)
		}
		w.ticks(time.Minute)
		if begun != 2 {
			t.Errorf("after the pause: %d begun", begun)
		}
		w.wantLines(eventFailed, 0)
	})
}

// Leases are renewed in a pause, and stay though their source is quiet; what the policy
// does not allow any more ends all the same.
func TestPauseOfLeases(t *testing.T) {
	for name, tighten := range map[string]func(c *policy.Config){
		"off":    func(c *policy.Config) { c.LimitSource.Mode = policy.Off },
		"prefix": func(c *policy.Config) { c.LimitSource.IPv4Bits = 24 },
	} {
		limiting(t, func(w *gateway, s *scout, _ *allowlist) {
			w.want, w.refuse = 63_000, 18_950
			w.ticks(3 * time.Second)
			if _, err := w.pause(control.Request{Verb: control.Pause, For: time.Hour, By: "root"}); err != nil {
				t.Fatal(err)
			}
			w.want, w.refuse = 1000, 0
			w.ticks(2 * time.Minute) // the lease is 15 s, the hold 20 s
			if w.leased.Value(limit) == "" {
				t.Fatalf("%s: the lease has ended in the pause", name)
			}
			c := w.Config
			tighten(&c)
			w.reload(func() (config.File, error) { return config.File{Policy: c}, nil })
			w.ticks(2 * time.Second)
			if got := w.leased.Value(limit); got != "" {
				t.Errorf("%s: %s is %q", name, limit, got)
			}
		})
	}
}
