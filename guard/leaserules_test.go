package guard

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// silent are leases that do not say what they refuse.
type silent struct {
	Leases
	reads int
}

func (s *silent) Held(string) ([]actions.Held, error) {
	s.reads++
	return nil, errors.New("no answer")
}

// While it is not known what a lease refuses it goes on, and that is said once.
func TestUnreadLeaseGoesOn(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(5 * time.Second)
		all := &silent{Leases: w.Leases}
		w.Leases, w.want, w.refuse = all, 20_000, 0
		w.ticks(2 * time.Minute)
		if w.leased.Value(limit) == "" {
			t.Error("the lease was let go")
		}
		for _, line := range w.wantLines(eventFailed, 1) {
			if !strings.Contains(line, "what leases refuse can't be read, so they go on: no answer") {
				t.Error(line)
			}
		}
		if all.reads > 121 {
			t.Errorf("asked %d times in two minutes", all.reads)
		}
	})
}

// A lease is recalled where it is, and as the measure that it is of.
func TestRecallLease(t *testing.T) {
	l := actions.Lease{Kind: nft.Drop, Namespace: "/run/netns/a", Source: netip.MustParsePrefix("10.0.0.1/32"), For: 15 * time.Second}
	c := ledger.Change{
		ID: 1, Boot: "b", Measure: string(policy.LimitSource), State: ledger.Applied, Edits: []ledger.Edit{actions.LeaseEdit(l)},
		Walk: &ledger.Walk{Done: true, Classes: []ledger.Count{{Class: unreplied, Deleted: 7}}},
	}
	got := Recall([]ledger.Change{c}, "b", l.Namespace)
	if len(got) != 1 || got[0].After != policy.Dropped || got[0].Terms.Source != l.Source || got[0].Walk != (policy.Walk{Done: true, Deleted: 7}) {
		t.Errorf("%+v", got)
	}
	other := c
	other.Measure = string(policy.Bypass)
	if got := append(Recall([]ledger.Change{c}, "b", ""), Recall([]ledger.Change{other}, "b", l.Namespace)...); len(got) != 0 {
		t.Errorf("recalled %+v", got)
	}
}

// Taking a drop back is about the drop.
func TestLeaseOfAnUndo(t *testing.T) {
	d := policy.Decision{Verb: policy.Undo, Measure: policy.LimitSource, From: policy.Dropped, Terms: &policy.Terms{Source: hog, Lease: time.Minute}}
	if got := leaseOf(d, ""); got.Kind != nft.Drop {
		t.Errorf("%+v", got)
	}
}
