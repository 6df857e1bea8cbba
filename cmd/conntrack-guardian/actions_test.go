package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// shortened is a change of two timeouts, one of them somebody else's by now.
func shortened() ledger.Change {
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	return ledger.Change{
		ID: 7, Measure: "shorten-timeouts", Cause: "table-full", Reason: "because", Level: 4, State: ledger.Applied, Boot: "b",
		Namespace: "/run/netns/gw", Created: made, Changed: made, Outcome: "helped",
		Edits: []ledger.Edit{
			{Key: "timeout:tcp_timeout_time_wait@/run/netns/gw", Before: "120", After: "10"},
			{Key: "timeout:udp_timeout@/run/netns/gw", Before: "30", After: "10"},
		},
		Yielded: []string{"timeout:udp_timeout@/run/netns/gw"},
		Walk: &ledger.Walk{
			Note: "enough", Read: 65536, Took: 0.24, Walks: 1,
			Classes: []ledger.Count{{Class: "tcp_timeout_time_wait", Deleted: 50_000, Retimed: 1200}, {Class: "udp_timeout"}},
		},
	}
}

func TestActionsOnTimeouts(t *testing.T) {
	max := ledger.Change{
		ID: 6, Measure: "raise-max", Cause: "table-filling", State: ledger.Undone, Created: shortened().Created,
		Edits: []ledger.Edit{{Key: "sysctl:net.netfilter.nf_conntrack_max", Before: "65536", After: "131072"}},
	}
	var out strings.Builder
	if err := listChanges(&out, []ledger.Change{max, shortened()}); err != nil {
		t.Fatal(err)
	}
	want := `ID  MADE                 MEASURE           CAUSE          VALUE                  FROM    TO       STATE    EFFECT
6   2026-01-02 03:04:05  raise-max         table-filling  nf_conntrack_max       65,536  131,072  undone   -
7   2026-01-02 03:04:05  shorten-timeouts  table-full     tcp_timeout_time_wait  2m      10s      applied  helped
7   2026-01-02 03:04:05  shorten-timeouts  table-full     udp_timeout            30s     10s      yielded  helped
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the list differs (-want +got):\n%s", d)
	}
	out.Reset()
	if err := showChange(&out, []ledger.Change{shortened()}, "7", false); err != nil {
		t.Fatal(err)
	}
	want = `change                 7
measure                shorten-timeouts
tcp_timeout_time_wait  2m → 10s
udp_timeout            30s → 10s, somebody else's by now
entries                65,536 read in 0.2 s; tcp_timeout_time_wait: 50,000 deleted, 1,200 end sooner; udp_timeout: 0 deleted, 0 end sooner; not all: enough
cause                  table-full
reason                 because
namespace              /run/netns/gw
made                   2026-01-02 03:04:05
state                  applied since 2026-01-02 03:04:05
effect                 helped
boot                   b
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the change differs (-want +got):\n%s", d)
	}
	out.Reset()
	c := shortened()
	c.State, c.Note = ledger.Undone, "rolled back by hand"
	printRollback(&out, []ledger.Change{c}, nil)
	want = "change 7 undone: tcp_timeout_time_wait 10s → 2m\nchange 7 yielded: udp_timeout\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the rollback differs (-want +got):\n%s", d)
	}
}
