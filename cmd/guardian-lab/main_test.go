package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab/demo"
)

// Tests whose names begin with TestRoot need root and fail without it.

// TestMain makes the test program play other programs under their names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "guardian-lab":
		main()
	case "do-nothing":
		doNothing()
	case "conntrack":
		playTool()
	}
	os.Exit(m.Run())
}

// doNothing is a defender that is ready, defends nothing and did nothing.
func doNothing() {
	if os.Args[1] == "actions" {
		os.Stdout.WriteString("[]\n")
		os.Exit(program.Done)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if sent, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil || !sent {
		os.Exit(program.Failed)
	}
	<-ctx.Done()
	os.Exit(program.Done)
}

// standIn is the path by which the test program plays another.
func standIn(t *testing.T, name string) string {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(me, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args string
		want int
	}{
		{"--help", program.Done},
		{"demo --help", program.Done},
		{"nonsense", program.Misused},
		{"demo nonsense", program.Misused},
		{"demo --nonsense", program.Misused},
		{"demo --max 3", program.Misused},
		{"demo --max many", program.Misused},
		{"demo --guardian /nonexistent", program.Failed},
		{"fill --entries 0", program.Misused},
		{"fill --mix established=0.5", program.Misused},
		{"fill --max -1", program.Misused},
		{"fill --buckets -1", program.Misused},
		{"fill --zone 65536", program.Misused},
		{"fill --nat -1", program.Misused},
		{"fill --nat 255", program.Misused},
		{"fill --sources 9000000", program.Misused},
		{"flood --pattern tsunami", program.Misused},
		{"flood --rate -1", program.Misused},
		{"flood --tuples -1", program.Misused},
		{"flood --for 0s", program.Misused},
		{"flood --sources -1", program.Misused},
		{"flood --from nowhere", program.Misused},
		{"flood --from 192.0.2.1", program.Misused},
		{"flood --from 10.77.0.1", program.Misused}, // and the pattern is answered
		{"flood --ipv6 --from 10.78.0.1", program.Misused},
		{"flood --tcp -1", program.Misused},
		{"bench", program.Done},
		{"bench nonsense", program.Misused},
		{"bench census now", program.Misused},
		{"bench census --rounds 0", program.Misused},
		{"bench census --sizes 999", program.Misused},
		{"bench census --sizes 2000,many", program.Misused},
		{"bench census --program /nonexistent", program.Failed},
		{"bench walk now", program.Misused},
		{"bench walk --rounds 0", program.Misused},
		{"bench walk --size 999", program.Misused},
		{"bench prune", program.Misused},
		{"bench prune nonsense", program.Misused},
		{"bench read", program.Misused},
		{"bench read nonsense", program.Misused},
		{"cleanup now", program.Misused},
	} {
		var stdout, stderr bytes.Buffer
		if got := execute(strings.Fields(tc.args), &stdout, &stderr); got != tc.want {
			t.Errorf("%s: exit %d, want %d\n%s%s", tc.args, got, tc.want, &stdout, &stderr)
		}
		if tc.want != program.Done && stderr.Len() == 0 {
			t.Errorf("%s: no word about why", tc.args)
		}
	}
}

func TestParseMix(t *testing.T) {
	mix, err := parseMix("established=0.5,half-open=0.25,udp=0.25", 1001, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []int{501, 250, 250} // what rounding leaves goes to the first
	for i, e := range mix {
		if e.Count != want[i] || e.Sources != 3 {
			t.Errorf("part %d: %+v, want %d entries from 3 sources", i, e, want[i])
		}
	}
	for _, bad := range []string{"", "udp", "udp=0", "udp=2", "udp=NaN", "udp=0.5", "tea=1", "udp=1,", "udp=0.6,half-open=0.6"} {
		if _, err := parseMix(bad, 100, 1); err == nil {
			t.Errorf("mix %q: no error", bad)
		}
	}
}

// Every kind can be made, and is what its name says.
func TestKinds(t *testing.T) {
	for name, e := range kinds {
		e.Count = 1
		if err := lab.Check(e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, want := e.Family == 6, strings.HasSuffix(name, "6"); got != want {
			t.Errorf("%s: IPv6 is %v", name, got)
		}
	}
	if left := kinds["idle"].Timeout; left != (120-9)*time.Hour {
		t.Errorf("idle has %s left, want 111h", left)
	}
}

// Zone and translation hold for the whole mix, each family with its own pool.
func TestEntriesOf(t *testing.T) {
	f := fillFlags{entries: 100, sources: 3, mix: "udp=0.5,icmp6=0.5", nat: 2, zone: 7}
	mix, err := f.entriesOf()
	if err != nil {
		t.Fatal(err)
	}
	want := []lab.NATPool{{First: natFirst, Addresses: 2}, {First: natFirst6, Addresses: 2}}
	for i, e := range mix {
		if e.SNAT != want[i] || e.Zone != 7 {
			t.Errorf("part %d: %+v, want zone 7 and %+v", i, e, want[i])
		}
	}
}

func TestProgressOffTerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	now := demo.Progress{Run: "with", Phase: "flood", Sample: demo.Sample{Count: 50, Max: 100}}
	p.show(now)
	p.show(now) // too soon for a second line
	now.Phase = "top"
	p.show(now)
	p.end()
	got := out.String()
	if strings.Count(got, "\n") != 2 || strings.ContainsAny(got, "\r\x1b") {
		t.Errorf("%q, want two plain lines", got)
	}
	if !strings.Contains(got, "[############------------]  50% of 100") {
		t.Errorf("%q: no bar that is half full", got)
	}
}

func TestRootFillPrintsWhatItMade(t *testing.T) {
	share := 1 / float64(len(kinds))
	var all []string
	for _, name := range kindNames() {
		all = append(all, fmt.Sprintf("%s=%g", name, share))
	}
	args := strings.Fields("fill --entries 1600 --nat 2 --zone 5 --json --mix")
	var stdout, stderr bytes.Buffer
	if got := execute(append(args, strings.Join(all, ",")), &stdout, &stderr); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	var r lab.FillReport
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Created != 1600 || r.Rate <= 0 {
		t.Errorf("%+v, %v from %s, want 1600 entries", r, err, &stdout)
	}
	nothingLeft(t, os.Getpid())
}

// Refusals are printed with their reason.
func TestRootFillPrintsRefusals(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := strings.Fields("fill --entries 1500 --max 1000 --buckets 524288")
	if got := execute(args, &stdout, &stderr); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	if out := stdout.String(); !strings.HasPrefix(out, "1000 entries made") || !strings.Contains(out, "500 refused: ENOMEM") {
		t.Errorf("%q, want 1000 made and 500 refused", out)
	}
	nothingLeft(t, os.Getpid())
}

func TestRootFloodCountsWhatClientsLose(t *testing.T) {
	args := strings.Fields("flood --max 2000 --rate 20000 --for 500ms --tcp 50 --json")
	var stdout, stderr bytes.Buffer
	if got := execute(args, &stdout, &stderr); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	var r floodResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Clients.TCP.Failed == 0 || r.Count < 1900 || r.Count > 2001 || r.Flood.Sent < 3000 {
		t.Errorf("%+v, want a full table of 2000 and connections lost", r)
	}
	nothingLeft(t, os.Getpid())
}

// Flood, clients and gateway are of one family, by --ipv6 or by the address.
func TestFloodFamily(t *testing.T) {
	for _, tc := range []struct {
		from string
		flag bool
		ipv6 bool
	}{{"", false, false}, {"", true, true}, {"10.78.0.9", false, false}, {"fd78:0:0:9::", false, true}} {
		f := floodFlags{from: tc.from, pattern: string(lab.UDP)}
		f.flood.For, f.flood.IPv6 = time.Second, tc.flag
		if err := f.check(); err != nil || f.flood.IPv6 != tc.ipv6 || f.clients.Way.IPv6 != tc.ipv6 {
			t.Errorf("%+v: flood %v, clients %v, %v", tc, f.flood.IPv6, f.clients.Way.IPv6, err)
		}
	}
}

func TestRootFloodPrintsWhatItSent(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"udp-replied", ", 500 completed; 500 entries"},
		{"time-wait --tuples 100", ", 500 completed, 500 closed; 100 entries"},
		{"udp-replied --ipv6", ", 500 completed; 500 entries"},
		{"half-open --from 10.77.0.9", ", 0 completed; 500 entries"},
	} {
		var stdout, stderr bytes.Buffer
		args := strings.Fields("flood --rate 1000 --count 500 --udp 0 --tcp 0 --pattern " + tc.args)
		if got := execute(args, &stdout, &stderr); got != program.Done {
			t.Fatalf("exit %d: %s", got, &stderr)
		}
		pattern, _, _ := strings.Cut(tc.args, " ")
		out := stdout.String()
		if !strings.HasPrefix(out, pattern+": 500 flows in ") || !strings.Contains(out, tc.want) || strings.Contains(out, "connections: ") {
			t.Errorf("%q, want 500 flows%s and no connections", out, tc.want)
		}
	}
	nothingLeft(t, os.Getpid())
}

// A defender that does nothing loses connections, and the demonstration says so.
func TestRootDemoFailsWithoutADefence(t *testing.T) {
	args := strings.Fields("demo --json -q --max 2000 --rate 4000 --tcp 100 --udp 0 --before 0s --top 200ms --guardian")
	var stdout, stderr bytes.Buffer
	if got := execute(append(args, standIn(t, "do-nothing")), &stdout, &stderr); got != program.Failed {
		t.Errorf("exit %d, want %d: %s", got, program.Failed, &stderr)
	}
	var r demo.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v from %s, %s", err, &stdout, &stderr)
	}
	if r.Unguarded.Clients.TCP.Failed == 0 || r.Guarded.Clients.TCP.Failed == 0 {
		t.Errorf("failed: %d without, %d with, want both more than none",
			r.Unguarded.Clients.TCP.Failed, r.Guarded.Clients.TCP.Failed)
	}
	// Lost connections, never raised, no account of a change.
	if len(r.Problems) != 3 {
		t.Errorf("problems %q, want three", r.Problems)
	}
	nothingLeft(t, os.Getpid())
}

// nothingLeft fails if a process left a namespace, a file or a claim.
func nothingLeft(t *testing.T, pid int) {
	t.Helper()
	if left := leftBy(t, pid); len(left) > 0 {
		t.Errorf("process %d left %q", pid, left)
	}
}

// leftBy lists what a process has of the lab.
func leftBy(t *testing.T, pid int) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{lab.StateDir, "/run/netns"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			first, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), "glab-"), "-")
			if first == strconv.Itoa(pid) {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	return found
}
