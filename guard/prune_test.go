package guard

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A pruner for tests deletes as long as it is told to, and hears of the end.
type pruner struct {
	asked []netip.Prefix
	takes time.Duration
	deaf  bool
	err   error
	ended error
}

func (p *pruner) prune(ctx context.Context, _ string, source netip.Prefix) (int, error) {
	p.asked = append(p.asked, source)
	done := ctx.Done()
	if p.deaf {
		done = nil
	}
	select {
	case <-done:
		p.ended = context.Cause(ctx)
		return 0, p.ended
	case <-time.After(p.takes):
	}
	return 7, p.err
}

var other = netip.MustParsePrefix("10.0.0.2/32")

// escalating runs a test with two sources that are limited in a table that stays full.
func escalating(t *testing.T, p *pruner, check func(w *gateway)) {
	limiting(t, func(w *gateway, s *scout, _ *allowlist) {
		w.Prune = p.prune
		w.Config.LimitSource.Escalation, w.Config.LimitSource.EscalateAfter = policy.DeleteUnreplied, 1
		first := &s.sight.Census.Sources[0]
		first.Share = policy.Share{Share: 0.4, Low: 0.39, High: 0.41}
		s.sight.Census.Sources[1] = *first
		s.sight.Census.Sources[1].Prefix = other
		w.want, w.refuse = 65_000, 18_950
		check(w)
	})
}

// There is one deletion at a time, and none is forgotten.
func TestPrunesTakeTurns(t *testing.T) {
	p := &pruner{takes: 5 * time.Second}
	escalating(t, p, func(w *gateway) {
		w.ticks(36 * time.Second)
		if len(p.asked) != 1 {
			t.Fatalf("deleting of %v at once", p.asked)
		}
		if c, _ := w.Ledger.Find(1); c.Walk == nil || !c.Walk.Running {
			t.Errorf("the ledger has %+v while it is deleted", c.Walk)
		}
		w.ticks(30 * time.Second)
		slices.SortFunc(p.asked, netip.Prefix.Compare)
		if !slices.Equal(p.asked, []netip.Prefix{hog, other}) {
			t.Errorf("deleted of %v", p.asked)
		}
		w.wantLines(eventPruned, 2)
	})
}

// A stop has a deletion end, records it and is no failure.
func TestStopEndsAPrune(t *testing.T) {
	p := &pruner{takes: time.Hour}
	escalating(t, p, func(w *gateway) {
		w.ticks(36 * time.Second)
		w.liftAll()
		if !errors.Is(p.ended, errStopping) {
			t.Errorf("ended with %v", p.ended)
		}
		if c, _ := w.Ledger.Find(1); c.Walk == nil || c.Walk.Running || !strings.Contains(c.Walk.Note, "stopping") {
			t.Errorf("the ledger has %+v", c.Walk)
		}
		w.wantLines(eventFailed, 0)
		w.wantLines(eventPruned, 0)
	})
}

// One that hears nothing is not waited for without end.
func TestStopWithADeafPrune(t *testing.T) {
	p := &pruner{takes: time.Minute, deaf: true}
	escalating(t, p, func(w *gateway) {
		w.ticks(36 * time.Second)
		begun := time.Now()
		w.liftAll()
		if took := time.Since(begun); took > lastWait+time.Second {
			t.Errorf("the stop took %s", took)
		}
		if got := w.leased.Value(limit); got != "" {
			t.Errorf("%s is %q after the stop", limit, got)
		}
		time.Sleep(time.Minute) // it ends
	})
}

// What a limit does not change is deleted, and in the end all is dropped.
func TestEscalation(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		var asked []netip.Prefix
		w.Prune = func(_ context.Context, _ string, p netip.Prefix) (int, error) {
			asked = append(asked, p)
			time.Sleep(2 * time.Second)
			return 12_345, nil
		}
		w.Config.LimitSource.Escalation, w.Config.LimitSource.EscalateAfter = policy.DropAll, 1
		w.want, w.refuse = 65_000, 18_950
		w.ticks(100 * time.Second)
		if len(asked) != 1 || asked[0] != hog {
			t.Fatalf("asked to delete what %v has", asked)
		}
		for _, line := range w.wantLines(eventPruned, 1) {
			if !strings.Contains(line, "change 1: 12,345 entries of 10.0.0.1 without a reply deleted in 2s: ") || !strings.Contains(line, `DELETED="12345"`) {
				t.Error(line)
			}
		}
		if got := w.leased.Value("drop:10.0.0.1/32"); got != "all dropped lease 15s" {
			t.Errorf("the drop is %q", got)
		}
		c, _ := w.Ledger.Find(1)
		if c.Walk == nil || !c.Walk.Done || c.Walk.Classes[0] != (ledger.Count{Class: unreplied, Deleted: 12_345}) {
			t.Errorf("the ledger has %+v", c.Walk)
		}
	})
}

// A deletion that fails is said, and not repeated.
func TestEscalationThatFails(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.Prune = func(context.Context, string, netip.Prefix) (int, error) { return 0, errors.New("no way") }
		w.Config.LimitSource.Escalation, w.Config.LimitSource.EscalateAfter = policy.DeleteUnreplied, 1
		w.want, w.refuse = 65_000, 18_950
		w.ticks(2 * time.Minute)
		for _, line := range w.wantLines(eventFailed, 1) {
			if !strings.Contains(line, "prune of limit-source failed: no way") {
				t.Error(line)
			}
		}
	})
}
