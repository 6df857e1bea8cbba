package guard

import (
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// What the policy decides comes back to it as it meant it.
func TestPlanAndRecall(t *testing.T) {
	for _, m := range []policy.Measure{policy.RaiseMax, policy.GrowBuckets} {
		c, err := plan(policy.Decision{Verb: policy.Do, Measure: m, From: 1, To: 2, Episode: "e", Cause: policy.TableFull}, "/run/netns/x")
		if err != nil {
			t.Fatal(err)
		}
		c.ID, c.State, c.Boot = 7, ledger.Applied, "b"
		back := Recall([]ledger.Change{c}, "b")
		want := policy.Change{ID: 7, Measure: m, State: policy.Applied, Episode: "e", Cause: policy.TableFull, Before: 1, After: 2}
		if len(back) != 1 || back[0] != want {
			t.Errorf("%s: recalled %+v, want %+v", m, back, want)
		}
		if len(Recall([]ledger.Change{c}, "another boot")) != 0 {
			t.Errorf("%s: recalled a change of another boot", m)
		}
	}
	if _, err := plan(policy.Decision{Measure: "unheard of"}, ""); err == nil {
		t.Error("planned an unknown measure")
	}
}

func TestEveryVerbIsReported(t *testing.T) {
	for _, v := range policy.Verbs {
		_, plain := reported[v]
		acts := v == policy.Do || v == policy.Undo || v == policy.Yield || v == policy.Judge
		if plain == acts {
			t.Errorf("%s: reported as decided %v, carried out %v", v, plain, acts)
		}
		if s := Sentence(policy.Decision{Verb: v, Reason: "because"}); len(s) < len("because") {
			t.Errorf("%s: %q", v, s)
		}
	}
}

// However much has happened since, the policy is shown what it yielded.
func TestRecallKeepsTheYielded(t *testing.T) {
	edits := []ledger.Edit{{Key: "k", Before: "1", After: "2"}}
	all := []ledger.Change{{ID: 1, Boot: "b", State: ledger.Yielded, Edits: edits}}
	for i := range 3 * closedKept {
		all = append(all, ledger.Change{ID: i + 2, Boot: "b", State: ledger.Undone, Edits: edits})
	}
	got := Recall(all, "b")
	if len(got) != closedKept+1 || got[0].ID != 1 || got[0].State != policy.Yielded {
		t.Errorf("%d changes, the first %+v", len(got), got[0])
	}
}
