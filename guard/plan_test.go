package guard

import (
	"slices"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
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
		back := Recall([]ledger.Change{c}, "b", "/run/netns/x")
		want := policy.Change{ID: 7, Measure: m, State: policy.Applied, Episode: "e", Cause: policy.TableFull, Before: 1, After: 2}
		if len(back) != 1 || back[0] != want {
			t.Errorf("%s: recalled %+v, want %+v", m, back, want)
		}
		if len(Recall([]ledger.Change{c}, "another boot", "/run/netns/x")) != 0 {
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
		acts := v == policy.Do || v == policy.Undo || v == policy.Yield || v == policy.Judge || v == policy.Prune
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
	got := Recall(all, "b", "")
	if len(got) != closedKept+1 || got[0].ID != 1 || got[0].State != policy.Yielded {
		t.Errorf("%d changes, the first %+v", len(got), got[0])
	}
}

// Timeouts go to the ledger and come back, what somebody else has taken as lost.
func TestPlanAndRecallTimeouts(t *testing.T) {
	const ns = "/run/netns/x"
	d := policy.Decision{
		Verb: policy.Do, Measure: policy.ShortenTimeouts, From: 1, To: 3, Episode: "e", Cause: policy.TableFull,
		Timeouts: []policy.TimeoutChange{{Name: "tcp_timeout_time_wait", From: 120, To: 38}, {Name: "udp_timeout", From: 30, To: 15}},
	}
	c, err := plan(d, ns)
	if err != nil {
		t.Fatal(err)
	}
	want := []ledger.Edit{{Key: "timeout:tcp_timeout_time_wait@" + ns, Before: "120", After: "38"}, {Key: "timeout:udp_timeout@" + ns, Before: "30", After: "15"}}
	if !slices.Equal(c.Edits, want) || c.Level != 3 {
		t.Errorf("planned %+v", c)
	}
	below := c
	below.ID, below.State, below.Boot, below.Level = 6, ledger.Applied, "b", 1
	c.ID, c.State, c.Boot, c.Made, c.Since = 7, ledger.Applied, "b", 5, 9
	c.Yielded = []string{c.Edits[1].Key}
	c.Walk = &ledger.Walk{Done: true, Classes: []ledger.Count{{Class: "a", Deleted: 3, Retimed: 1}, {Class: "b", Deleted: 4}}}
	back := Recall([]ledger.Change{below, c}, "b", ns)
	recalled := policy.Change{
		ID: 7, Measure: policy.ShortenTimeouts, State: policy.Applied, Episode: "e", Cause: policy.TableFull, Before: 1, After: 3,
		Made: 5, At: 9, Walk: policy.Walk{Done: true, Deleted: 7, Retimed: 1},
	}
	recalled.Timeouts[policy.TCPTimeWait] = policy.TimeoutEdit{Before: 120, After: 38}
	recalled.Lost[policy.UDP] = true
	if len(back) != 2 || back[1] != recalled || back[0].Before != 0 || back[0].After != 1 {
		t.Errorf("recalled %+v, want %+v", back, recalled)
	}
	if back := Recall([]ledger.Change{c}, "b", ""); len(back) != 0 {
		t.Errorf("recalled %+v of another namespace", back)
	}
	if back := Recall([]ledger.Change{c}, "another boot", ns); len(back) != 0 {
		t.Errorf("recalled %+v of another boot", back)
	}
	d.Timeouts[0].Name = "unheard of"
	if _, err := plan(d, ns); err == nil {
		t.Error("planned an unknown timeout")
	}
	for x := range policy.Timeouts {
		if _, ok := timeout.ByName(x.String()); !ok {
			t.Errorf("the kernel has no class %s", x)
		}
	}
}

// A change that was never written holds nothing back; one that was refused does.
func TestRecallForgetsTheUntried(t *testing.T) {
	c := ledger.Change{ID: 1, Boot: "b", Measure: "raise-max", State: ledger.Failed, Edits: []ledger.Edit{{Key: "k", Before: "1", After: "2"}}}
	for note, want := range map[string]int{actions.NeverWritten: 0, "permission denied": 1} {
		c.Note = note
		if got := Recall([]ledger.Change{c}, "b", ""); len(got) != want {
			t.Errorf("%s: %+v", note, got)
		}
	}
}

// However much has happened since, the policy is shown what somebody else has taken of a
// change that is over.
func TestRecallKeepsTheLost(t *testing.T) {
	const taken = "timeout:udp_timeout"
	all := []ledger.Change{{
		ID: 1, Boot: "b", Measure: "shorten-timeouts", State: ledger.Undone, Yielded: []string{taken},
		Edits: []ledger.Edit{{Key: taken, Before: "30", After: "10"}, {Key: "timeout:tcp_timeout_time_wait", Before: "120", After: "10"}},
	}}
	for i := range 3 * closedKept {
		all = append(all, ledger.Change{ID: i + 2, Boot: "b", Measure: "raise-max", State: ledger.Undone, Edits: []ledger.Edit{{Key: "k", Before: "1", After: "2"}}})
	}
	if got := Recall(all, "b", ""); len(got) != closedKept+1 || got[0].ID != 1 || !got[0].Lost[policy.UDP] || got[0].Lost[policy.TCPTimeWait] {
		t.Errorf("%d changes, the first %+v", len(got), got[0])
	}
}

func TestSentencesOfTimeouts(t *testing.T) {
	d := policy.Decision{
		Verb: policy.Do, Measure: policy.ShortenTimeouts, From: 0, To: 4, Reason: "because",
		Timeouts: []policy.TimeoutChange{{Name: "tcp_timeout_time_wait", From: 120, To: 10}, {Name: "udp_timeout", From: 30, To: 10}},
	}
	if got, want := Sentence(d), "shorten timeouts to level 4 of 4: tcp_timeout_time_wait 2m → 10s, udp_timeout 30s → 10s: because"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	d.Verb, d.Change, d.From, d.To, d.Timeouts = policy.Undo, 7, 4, 0, []policy.TimeoutChange{{Name: "udp_timeout", From: 10, To: 30}}
	if got, want := Sentence(d), "undo change 7: give timeouts back, level 4 to 0: udp_timeout 10s → 30s: because"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The changes of one measure don't push those of another out of what the policy is
// shown.
func TestRecallKeepsEachMeasuresNewest(t *testing.T) {
	all := []ledger.Change{{ID: 1, Measure: string(policy.RaiseMax), Boot: "b", State: ledger.Failed, Edits: []ledger.Edit{{Key: "k", Before: "1", After: "2"}}}}
	for i := range 3 * closedKept {
		e := actions.LeaseEdit(actions.Lease{Kind: nft.Drop, Source: hog, For: time.Second})
		all = append(all, ledger.Change{ID: i + 2, Measure: string(policy.LimitSource), Boot: "b", State: ledger.Undone, Edits: []ledger.Edit{e}})
	}
	if got := Recall(all, "b", ""); len(got) != closedKept+1 || got[0].ID != 1 {
		t.Errorf("%d changes, the first is %d", len(got), got[0].ID)
	}
}
