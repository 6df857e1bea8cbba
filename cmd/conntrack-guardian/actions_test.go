package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
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
	if err := listChanges(&out, []ledger.Change{max, shortened()}, nil); err != nil {
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
	if err := showChange(&out, shortened(), nil); err != nil {
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
	printRollback(&out, []ledger.Change{c})
	want = "change 7 undone: tcp_timeout_time_wait 10s → 2m\nchange 7 yielded: udp_timeout\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("the rollback differs (-want +got):\n%s", d)
	}
}

// What a walk did is told, also of one that nothing is known of.
func TestWalkText(t *testing.T) {
	for want, w := range map[string]ledger.Walk{
		"a walk began and its end is not known":                     {Running: true, Walks: 1},
		"5 read in 1.5 s; a walk began and its end is not known":    {Running: true, Walks: 2, Read: 5, Took: 1.5},
		"5 read in 1.5 s; not all":                                  {Read: 5, Took: 1.5},
		"5 read in 1.5 s; not all: enough":                          {Read: 5, Took: 1.5, Note: "enough"},
		"5 read in 1.5 s":                                           {Read: 5, Took: 1.5, Done: true},
		"0 read in 0.0 s":                                           {Done: true},
		"5 read in 1.5 s; udp_timeout: 1,000 deleted, 2 end sooner": {Read: 5, Took: 1.5, Done: true, Classes: []ledger.Count{{Class: "udp_timeout", Deleted: 1000, Retimed: 2}}},
	} {
		if got := walkText(&w); got != want {
			t.Errorf("%+v: %q, want %q", w, got, want)
		}
	}
}

// A list tells timeouts of several namespaces apart, and says nothing of a single one.
func TestPlaces(t *testing.T) {
	of := func(namespaces ...string) (changes []ledger.Change) {
		for _, at := range namespaces {
			key := "timeout:udp_timeout"
			if at != "" {
				key += "@" + at
			}
			changes = append(changes, ledger.Change{Namespace: at, Edits: []ledger.Edit{
				{Key: "sysctl:net.netfilter.nf_conntrack_max", Before: "1", After: "2"}, {Key: key, Before: "30", After: "10"},
			}})
		}
		return changes
	}
	for want, changes := range map[string][]ledger.Change{
		"udp_timeout":                               of(""),
		"udp_timeout udp_timeout":                   of("/run/netns/gw", "/run/netns/gw"),
		"udp_timeout udp_timeout@gw":                of("", "/run/netns/gw"),
		"udp_timeout@a udp_timeout@b udp_timeout@a": of("/run/netns/a", "/run/netns/b", "/run/netns/a"),
		"udp_timeout@/proc/1/ns/net udp_timeout@/proc/2/ns/net udp_timeout@b": of("/proc/1/ns/net", "/proc/2/ns/net", "/run/b"),
	} {
		var out strings.Builder
		if err := listChanges(&out, changes, nil); err != nil {
			t.Fatal(err)
		}
		var values []string
		for line := range strings.Lines(out.String()) {
			for _, word := range strings.Fields(line) {
				if strings.HasPrefix(word, "udp_timeout") || strings.HasPrefix(word, "nf_conntrack_max@") {
					values = append(values, word)
				}
			}
		}
		if got := strings.Join(values, " "); got != want {
			t.Errorf("the list has %q, want %q:\n%s", got, want, out.String())
		}
	}
}

// Lifting restrictions leaves capacity in force, and does not say that nothing is.
func TestRootRollbackRestrictionsKeepsCapacity(t *testing.T) {
	s := newSite(t)
	if err := os.Mkdir(s.path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, _, err := openLedger(s.path("state"), actions.KernelLeases())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Intend(ledger.Change{Measure: "raise-max", Edits: []ledger.Edit{
		{Key: "sysctl:net.netfilter.nf_conntrack_max", Before: "32768", After: strconv.Itoa(baseline)},
	}})
	if err == nil {
		_, err = l.Step(c.ID, ledger.Applied, "")
	}
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := s.command("rollback", "--restrictions")
	if code != program.Done || stdout != "No restriction of the guardian's is in force.\n" || stderr != "" {
		t.Errorf("exit code %d, %q%q", code, stdout, stderr)
	}
	if c := s.changes()[0]; c.State != ledger.Applied || s.max() != baseline {
		t.Errorf("the raise is %s, nf_conntrack_max %d", c.State, s.max())
	}
}
