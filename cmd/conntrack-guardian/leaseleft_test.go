package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

const gw = "/run/netns/gw"

// The leases of the tests.
var (
	limit4 = actions.Lease{Kind: nft.Limit, Namespace: gw, Source: netip.MustParsePrefix("10.0.0.5/32"), Rate: 50, Burst: 1000, For: 15 * time.Second}
	limit6 = actions.Lease{Kind: nft.Limit, Namespace: gw, Source: netip.MustParsePrefix("2001:db8::/64"), Rate: 50, Burst: 1000, For: 15 * time.Second}
	drop4  = actions.Lease{Kind: nft.Drop, Namespace: gw, Source: netip.MustParsePrefix("10.0.0.5/32"), For: time.Minute}
	dns    = actions.Lease{Kind: nft.Bypass, Namespace: gw, Flow: "dns", Mark: "1a2b3c4d", For: 10 * time.Minute}
)

var made = time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)

// leased is a change that has put a lease in force.
func leased(id int, l actions.Lease) ledger.Change {
	measure := "limit-source"
	if l.Kind == nft.Bypass {
		measure = "bypass"
	}
	return ledger.Change{
		ID: id, Measure: measure, Cause: "table-full", Reason: "because", State: ledger.Applied, Boot: "b", Namespace: l.Namespace,
		Created: made, Changed: made, Edits: []ledger.Edit{actions.LeaseEdit(l)},
	}
}

// inForce is a lease as the kernel holds it.
func inForce(l actions.Lease, left time.Duration, refused uint64) actions.Held {
	e := actions.LeaseEdit(l)
	return actions.Held{Key: e.Key, Held: nft.Held{
		Lease: nft.Lease{Kind: l.Kind, Source: l.Source, Flow: l.Flow}, Text: e.After, Left: left, Timeout: l.For, Refused: refused,
	}}
}

// fourLeases are in force by the ledger: the second one is over, and the third came to
// somebody else's terms.
func fourLeases(t *testing.T) ([]ledger.Change, map[int]remains) {
	t.Helper()
	changes := []ledger.Change{leased(1, limit4), leased(2, limit6), leased(3, drop4), leased(4, dns)}
	foreign := inForce(drop4, time.Minute, 9)
	foreign.Text = "mine now"
	left, err := leasesLeft(changes, "b", func(string) ([]actions.Held, error) {
		return []actions.Held{inForce(limit4, 11300*time.Millisecond, 12345), foreign, inForce(dns, 9*time.Minute+30*time.Second, 0)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changes, left
}

func TestActionsOnLeases(t *testing.T) {
	changes, left := fourLeases(t)
	var out strings.Builder
	if err := listChanges(&out, changes, left); err != nil {
		t.Fatal(err)
	}
	want := `ID  MADE                 MEASURE       CAUSE       VALUE                FROM  TO                            STATE    EFFECT  LEASE
1   2026-01-02 03:04:05  limit-source  table-full  limit 10.0.0.5/32    none  50/s, burst 1,000, lease 15s  applied  -       11s left, 12,345 refused
2   2026-01-02 03:04:05  limit-source  table-full  limit 2001:db8::/64  none  50/s, burst 1,000, lease 15s  applied  -       over
3   2026-01-02 03:04:05  limit-source  table-full  drop 10.0.0.5/32     none  all dropped, lease 1m         applied  -       over
4   2026-01-02 03:04:05  bypass        table-full  bypass dns           none  untracked, lease 10m          applied  -       9m30s left
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the list differs (-want +got):\n%s", d)
	}
	out.Reset()
	if err := listChanges(&out, changes, nil); err != nil || strings.Contains(out.String(), "LEASE") {
		t.Errorf("what is not known has a column: %v\n%s", err, out.String())
	}
	changes[0].Walk = &ledger.Walk{Done: true, Took: 0.21, Walks: 1, Classes: []ledger.Count{{Class: "unreplied", Deleted: 4321}}}
	out.Reset()
	if err := showChange(&out, changes[0], left); err != nil {
		t.Fatal(err)
	}
	want = `change             1
measure            limit-source
limit 10.0.0.5/32  none → 50/s, burst 1,000, lease 15s
lease              11s left, 12,345 refused
entries            4,321 without a reply deleted in 0.2 s
cause              table-full
reason             because
namespace          /run/netns/gw
made               2026-01-02 03:04:05
state              applied since 2026-01-02 03:04:05
boot               b
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the change differs (-want +got):\n%s", d)
	}
}

// Programs find what is left beside what the ledger has.
func TestActionsOnLeasesJSON(t *testing.T) {
	changes, left := fourLeases(t)
	changes = append(changes, shortened())
	text, err := json.Marshal(tellAll(changes, left))
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"11.3 12345 limit-source", "0 0 limit-source", "0 0 limit-source", "570 0 bypass", "<nil> <nil> shorten-timeouts"}
	for i, c := range got {
		if text := fmt.Sprint(c["left"], c["refused"], " ", c["measure"]); text != want[i] && !strings.HasPrefix(text, want[i]) {
			t.Errorf("change %d: %q, want %q", i+1, text, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d changes", len(got))
	}
}

// Each namespace with a lease in force is asked once, and no other.
func TestLeasesLeft(t *testing.T) {
	elsewhere, gone, here := limit4, limit4, limit6
	elsewhere.Namespace, gone.Namespace, here.Namespace = "/run/netns/other", "/run/netns/gone", ""
	old, undone, undoing := leased(6, here), leased(7, here), leased(8, limit6)
	old.Boot, undone.State, undoing.State = "before", ledger.Undone, ledger.Undoing
	changes := []ledger.Change{leased(1, limit4), leased(2, elsewhere), leased(3, gone), shortened(), old, undone, undoing}
	broken := errors.New("broken")
	asked := map[string]int{}
	left, err := leasesLeft(changes, "b", func(namespace string) ([]actions.Held, error) {
		asked[namespace]++
		switch namespace {
		case elsewhere.Namespace:
			return nil, broken
		case gone.Namespace:
			return nil, fmt.Errorf("%w: it is no more", actions.ErrGone)
		}
		return []actions.Held{inForce(limit4, time.Second, 1), inForce(limit6, 2*time.Second, 2)}, nil
	})
	if !errors.Is(err, broken) || errors.Is(err, actions.ErrGone) {
		t.Errorf("%v, want what is broken", err)
	}
	want := map[int]remains{1: {time.Second, 1}, 3: {}, 8: {2 * time.Second, 2}}
	if d := cmp.Diff(want, left, cmp.AllowUnexported(remains{})); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]int{gw: 1, elsewhere.Namespace: 1, gone.Namespace: 1}, asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
}

// Leases in two namespaces are told apart, as timeouts are.
func TestPlacesOfLeases(t *testing.T) {
	elsewhere := limit4
	elsewhere.Namespace = "/run/netns/other"
	var out strings.Builder
	if err := listChanges(&out, []ledger.Change{leased(1, limit4), leased(2, elsewhere)}, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  limit 10.0.0.5/32@gw  ", "  limit 10.0.0.5/32@other  "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// A rollback says what was taken back, and what had ended before.
func TestRollbackOfLeases(t *testing.T) {
	c := func(id int, l actions.Lease, state ledger.State, note string) ledger.Change {
		c := leased(id, l)
		c.State, c.Note = state, note
		return c
	}
	var out strings.Builder
	taken := c(3, dns, ledger.Yielded, "somebody else has it")
	taken.Yielded = []string{taken.Edits[0].Key}
	printRollback(&out, []ledger.Change{c(1, limit4, ledger.Undone, "rolled back by hand"), c(2, drop4, ledger.Undone, actions.LapsedNote), taken})
	want := `change 1 undone: limit 10.0.0.5/32 50/s, burst 1,000, lease 15s → none
change 2 undone: drop 10.0.0.5/32 all dropped, lease 1m → none
  its lease had ended
change 3 yielded: bypass dns
  somebody else has it
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("printed (-want +got):\n%s", d)
	}
}

func TestPruneText(t *testing.T) {
	count := []ledger.Count{{Class: "unreplied", Deleted: 1234}}
	for want, w := range map[string]ledger.Walk{
		"those without a reply began to be deleted, and the end of that is not known": {Running: true},
		"1,234 without a reply deleted in 0.2 s":                                      {Done: true, Took: 0.2, Classes: count},
		"1,234 without a reply deleted in 0.2 s; not all: refused":                    {Done: true, Took: 0.2, Classes: count, Note: "refused"},
	} {
		c := leased(1, limit4)
		c.Walk = &w
		if got := entriesOf(c); got != want {
			t.Errorf("%+v: %q, want %q", w, got, want)
		}
	}
}
