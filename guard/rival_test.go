package guard

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/rival"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A yield is journaled once, with who may be behind it, when that is known; the loop does
// not wait for it.
func TestYieldNamesSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		var asked [][]rival.Drift
		w.Suspects = func(_ context.Context, drifts ...rival.Drift) []rival.Suspect {
			time.Sleep(300 * time.Millisecond)
			asked = append(asked, drifts)
			return []rival.Suspect{{Name: "kube-proxy", Why: "process 7", Likely: true}, {Name: "docker", Why: "process 8"}}
		}
		w.want = 60_000
		w.ticks(3 * time.Second)
		w.kernel.Set(actions.MaxName, "77777")
		w.Tick()
		w.wantLines(eventYielded, 0)
		w.ticks(2 * time.Second)
		for _, line := range w.wantLines(eventYielded, 1) {
			if !strings.Contains(line, "somebody else wrote 77,777; keeping off for 1h; suspected: kube-proxy, process 7") ||
				!strings.Contains(line, `SUSPECT="kube-proxy"`) || strings.Contains(line, `SUSPECT="docker"`) {
				t.Error(line)
			}
		}
		if len(asked) != 1 || len(asked[0]) != 1 || asked[0][0].Key != actions.MaxKey || asked[0][0].Ours == "65536" || asked[0][0].Found != "77777" {
			t.Errorf("asked %+v", asked)
		}
		s := w.status()
		if len(s.Yielded) != 1 || s.Yielded[0].Measure != policy.RaiseMax || s.Yielded[0].Until.Sub(s.Yielded[0].At) != time.Hour {
			t.Errorf("%+v", s.Yielded)
		}
	})
}

// What nobody has looked into when the daemon stops is told without.
func TestYieldAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		w.Suspects = func(ctx context.Context, _ ...rival.Drift) []rival.Suspect {
			<-ctx.Done()
			return nil
		}
		w.accuse(yieldLine{message: "one"})
		w.accuse(yieldLine{message: "two"})
		w.wantLines(eventYielded, 0)
		w.dismiss()
		w.awaitSuspects()
		w.wantLines(eventYielded, 2)
	})
}

func TestHour(t *testing.T) {
	var h hour
	u := func(list [60]*float64, i int) float64 {
		if list[i] == nil {
			return -1
		}
		return *list[i]
	}
	start := 5000 * time.Minute
	h.add(start, 0.2)
	h.add(start+10*time.Second, 0.5)
	h.add(start+20*time.Second, 0.3)
	h.add(start+2*time.Minute, 0.1)
	got := h.minutes(start + 2*time.Minute)
	if u(got, 59) != 0.1 || u(got, 58) != -1 || u(got, 57) != 0.5 || u(got, 56) != -1 {
		t.Errorf("%v %v %v %v", u(got, 59), u(got, 58), u(got, 57), u(got, 56))
	}
	got = h.minutes(start + 61*time.Minute) // without readings since
	if u(got, 0) != 0.1 || u(got, 59) != -1 {
		t.Errorf("an hour later: %v, %v", u(got, 0), u(got, 59))
	}
	h.add(start+1000*time.Minute, 0.9)
	got = h.minutes(start + 1000*time.Minute)
	for i := range 59 {
		if got[i] != nil {
			t.Errorf("minute %d is known after a long sleep", i)
		}
	}
}

// A record that can't be written is said once, and so is one that can again.
type flaky struct {
	err   error
	added int
}

func (*flaky) Policy(*policy.Config) {}
func (f *flaky) Err() error          { return f.err }

func (f *flaky) Add(_ *policy.State, _ *policy.Snapshot, _ *policy.Config, _ time.Duration, _ []policy.Decision) {
	f.added++
}

func TestUnrecorded(t *testing.T) {
	w := newGateway(t)
	f := &flaky{}
	w.Record = f
	w.run(5*time.Second, 1000)
	w.wantLines(eventUnrecorded, 0)
	f.err = errors.New("no space left on device")
	w.run(5*time.Second, 1000)
	w.wantLines(eventUnrecorded, 1)
	if got := w.status().Record; got == nil || got.Error != "no space left on device" {
		t.Errorf("%+v", got)
	}
	f.err = nil
	w.run(5*time.Second, 1000)
	w.wantLines(eventUnrecorded, 2)
	if f.added < 15 {
		t.Errorf("%d steps", f.added)
	}
}

// A status tells what is in force and what is left of it.
func TestStatusOfLeases(t *testing.T) {
	limiting(t, func(w *gateway, s *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		st := w.status()
		if len(st.Active) != 1 || st.Active[0].Text != "limit 10.0.0.1 to 50 new connections/s, 100 at once" ||
			st.Active[0].LeaseLeft == nil || *st.Active[0].LeaseLeft <= 0 || *st.Active[0].LeaseLeft > 15 || st.Active[0].Refused == nil || *st.Active[0].Refused == 0 {
			t.Fatalf("%+v", st.Active)
		}
		if st.Active[0].HoldLeft != nil {
			t.Errorf("to be undone in %v s", *st.Active[0].HoldLeft)
		}
		w.want, w.refuse = 1000, 0 // and the hold is 20 s
		s.sight.Census.Sources[0].Steady = 0
		w.ticks(10 * time.Second)
		if st = w.status(); len(st.Active) != 1 || st.Active[0].HoldLeft == nil || *st.Active[0].HoldLeft > 12 || *st.Active[0].HoldLeft < 8 {
			t.Errorf("%+v, to be undone in %v s", st.Active, *st.Active[0].HoldLeft)
		}
		if len(st.Recent) != 1 || st.Recent[0].State != "applied" || st.Acts.All.Used != 1 || st.Acts.Measures[policy.LimitSource].Used != 1 {
			t.Errorf("%+v %+v", st.Recent, st.Acts)
		}
	})
}

// That the guarded namespace has lost its name is told once, and shown as long as it is so.
func TestNamelessNamespace(t *testing.T) {
	w := newGateway(t)
	var err error
	w.Named = func() error { return err }
	w.run(3*time.Second, 1000)
	err = errors.New("no such file or directory")
	w.run(3*time.Second, 1000)
	w.wantLines(eventBlind, 1)
	if s := w.status(); !strings.Contains(s.Blind, "is gone (no such file or directory)") || !strings.Contains(w.Status(), "is gone") {
		t.Errorf("blind %q, %q", s.Blind, w.Status())
	}
	err = nil
	w.run(3*time.Second, 1000)
	w.wantLines(eventSeeing, 1)
	if s := w.status(); s.Blind != "" {
		t.Errorf("blind %q", s.Blind)
	}
}
