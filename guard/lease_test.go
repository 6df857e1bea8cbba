package guard

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// kernelLeases are those of the kernel for tests.
func (w *gateway) kernelLeases() *actions.Leases {
	return &actions.Leases{
		Open: func(namespace string) (actions.LeaseSocket, error) {
			s, err := w.leased.Open(namespace)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Left: w.leased.Left, EndLeft: w.leased.EndLeft, Now: w.leased.Now,
		Gone:   func(string) bool { return false },
		Follow: func(string) (func() error, error) { return func() error { return nil }, nil },
	}
}

// refusals are leases that refuse packets all the time.
type refusals struct {
	*actions.Leases
	w *gateway
}

func (r *refusals) Held(namespace string) ([]actions.Held, error) {
	held, err := r.Leases.Held(namespace)
	for i := range held {
		held[i].Refused = uint64(r.w.refuse * r.w.now.Seconds())
	}
	return held, err
}

// allowlist is one for tests, and how often it was read.
type allowlist struct {
	list  []policy.Allowed
	err   error
	reads int
}

func (a *allowlist) Read(context.Context, policy.Config) ([]policy.Allowed, error) {
	a.reads++
	return a.list, a.err
}

var hog = netip.MustParsePrefix("10.0.0.1/32")

// limiting runs a test on a table that may not grow, with a hog.
func limiting(t *testing.T, check func(w *gateway, s *scout, a *allowlist)) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		found := sense.Sight{Counting: true, Census: policy.Census{Read: 20_000, Table: 60_000, Counted: true, New: 20_000}}
		found.Census.Sources[0] = policy.Holder{Prefix: hog, Share: policy.Share{Share: 0.8, Low: 0.79, High: 0.81}, New: 19_000, Steady: 19_000}
		s, a := &scout{sight: found}, &allowlist{}
		w.limits(s, a)
		w.want = 1000
		w.ticks(5 * time.Second)
		check(w, s, a)
		w.dismiss()
	})
}

// limits gives a run of the daemon what limiting needs.
func (w *gateway) limits(s *scout, a *allowlist) {
	w.Scout, w.Allow, s.clock = s, a, w.Clock
	w.Config.RaiseMax.Ceiling, w.Config.ShortenTimeouts.Mode = 65536, policy.Off
	w.Config.LimitSource.Hold = 20 * time.Second
	w.bound()
}

const limit = "limit:10.0.0.1/32"

func TestSourceIsLimitedAndSetFree(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, a *allowlist) {
		if a.reads != 1 {
			t.Errorf("the allowlist was read %d times before any trouble, want once", a.reads)
		}
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		if got := w.leased.Value(limit); got != "50/s burst 100 lease 15s" {
			t.Fatalf("%s is %q", limit, got)
		}
		for _, line := range w.wantLines(eventRanked, 1) {
			if !strings.Contains(line, "sources by what they hold: 10.0.0.1 holds 80.0 ± 1.0 % of the table and steadily makes 19,000 connections/s: limit") {
				t.Error(line)
			}
		}
		for _, line := range w.wantLines(eventDone, 1) {
			for _, want := range []string{
				"change 1: limit 10.0.0.1 to 50 new connections/s, 100 at once: 10.0.0.1 holds", `ABOUT="10.0.0.1"`,
				`TARGET="limit:10.0.0.1/32"`, `BEFORE="none"`, `AFTER="50/s burst 100 lease 15s"`, `MEASURE="limit-source"`,
			} {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %s", want, line)
				}
			}
		}
		if s := w.Status(); !strings.Contains(s, "1 source limited") {
			t.Error(s)
		}
		w.want = 20_000
		w.ticks(5 * time.Minute) // many leases
		if w.leased.Value(limit) == "" {
			t.Fatal("the lease was let go while it refuses")
		}
		for _, line := range w.wantLines(eventJudged, 1) {
			if !strings.Contains(line, "change 1 helped: 18,9") {
				t.Error(line)
			}
		}
		w.refuse = 0
		w.ticks(25 * time.Second)
		if got := w.leased.Value(limit); got != "" {
			t.Errorf("%s is %q", limit, got)
		}
		for _, line := range w.wantLines(eventUndone, 1) {
			if !strings.Contains(line, "change 1 undone: set 10.0.0.1 free: quiet for 20s") {
				t.Error(line)
			}
		}
		w.wantLines(eventFailed, 0)
	})
}

// Who can't read the kernel does not renew, and says what came of it when it can.
func TestBlindGuardLetsLeasesEnd(t *testing.T) {
	limiting(t, func(w *gateway, s *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		w.err = errors.New("no reading")
		w.ticks(16 * time.Second)
		if got := w.leased.Value(limit); got != "" {
			t.Fatalf("%s is still %q", limit, got)
		}
		w.err, w.want = nil, 1000
		s.sight.Census.Sources[0].Steady = 0
		w.ticks(3 * time.Second)
		for _, line := range w.wantLines(eventUndone, 1) {
			if !strings.Contains(line, "change 1 undone: set 10.0.0.1 free: its lease had ended") {
				t.Error(line)
			}
		}
		if c, _ := w.Ledger.Find(1); c.State != ledger.Undone {
			t.Errorf("the change is %s", c.State)
		}
	})
}

// A flush of the ruleset, where the table is not protected from it, is mended with the
// next reading.
func TestFlushedLeaseIsRestored(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.leased.SetPlain(true)
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		w.leased.Flush("")
		w.Tick()
		if got := w.leased.Value(limit); got == "" {
			t.Error("the lease is not in force again")
		}
		for _, line := range w.wantLines(eventRestored, 1) {
			if !strings.Contains(line, "change 1 is in force again: somebody had removed it") {
				t.Error(line)
			}
		}
	})
}

func TestStopEndsLeases(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		w.liftAll()
		w.reportStopped()
		if got := w.leased.Value(limit); got != "" {
			t.Errorf("%s is %q after the stop", limit, got)
		}
		for _, line := range w.wantLines(eventStopped, 1) {
			if !strings.Contains(line, "nothing of ours is in force") {
				t.Error(line)
			}
		}
	})
}

// Killed, it is the kernel that ends the lease; the next run finds it over.
func TestKilledGuardsLeaseIsOver(t *testing.T) {
	limiting(t, func(w *gateway, s *scout, a *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		w.leave()
		w.kill()
		w.start()
		w.limits(s, a)
		for _, line := range w.wantLines(eventSettled, 1) {
			if !strings.Contains(line, "found change 1 of an earlier run: now undone: its lease had ended") {
				t.Error(line)
			}
		}
		w.ticks(3 * time.Second)
		w.wantLines(eventDone, 2) // limited anew, on new evidence
	})
}

// A reload with other terms makes the lease again with them.
func TestReloadChangesTheTerms(t *testing.T) {
	limiting(t, func(w *gateway, s *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		s.sight.Census.Sources[0].Steady = 0
		next := w.Config
		next.LimitSource.Rate, next.Lease = 20, 5*time.Second
		w.reload(func() (config.File, error) { return config.File{Policy: next}, nil })
		w.Tick()
		if got := w.leased.Value(limit); got != "20/s burst 100 lease 5s" {
			t.Errorf("%s is %q", limit, got)
		}
		for _, line := range w.wantLines(eventUndone, 1) {
			if !strings.Contains(line, "the policy has other terms now") {
				t.Error(line)
			}
		}
	})
}

// A flow is exempt while the table is in trouble, unless it is translated.
func TestFlowBypasses(t *testing.T) {
	for translated, want := range map[string]string{"": "untracked", "10.0.0.5 is": ""} {
		limiting(t, func(w *gateway, s *scout, _ *allowlist) {
			s.translated = translated
			w.Config.LimitSource.Mode = policy.Off
			w.Config.Bypass = []policy.Flow{{
				Name: "dns", Mode: policy.Act, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				To: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Proto: 17, Ports: []policy.Ports{{Low: 53, High: 53}}, Hold: time.Minute,
			}}
			w.bound()
			w.want = 63_000
			w.ticks(5 * time.Second)
			if got := w.leased.Value("bypass:dns"); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
				t.Fatalf("bypass:dns is %q", got)
			}
			if want == "" {
				w.wantLines(eventDone, 0)
				return
			}
			if s := w.Status(); !strings.Contains(s, "1 flow untracked") {
				t.Error(s)
			}
			w.want = 1000
			w.ticks(90 * time.Second)
			for _, line := range w.wantLines(eventUndone, 1) {
				if !strings.Contains(line, "track dns again") {
					t.Error(line)
				}
			}
		})
	}
}

func TestSince(t *testing.T) {
	held := func(n uint64) []actions.Held { return []actions.Held{{Key: "k", Held: nft.Held{Refused: n}}} }
	first := since(nil, held(100), time.Second)
	second := since(first, held(150), 2*time.Second)
	third := since(second, held(30), time.Second) // it began anew
	if first["k"].known || second["k"] != (refusal{150, 25, true}) || third["k"] != (refusal{30, 30, true}) {
		t.Errorf("%+v, %+v, %+v", first, second, third)
	}
}
