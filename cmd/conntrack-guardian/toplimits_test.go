package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// kernelWith is a reader of leases that are in force in the namespace of the tests.
func kernelWith(t *testing.T, held ...actions.Held) reading {
	return func(namespace string) ([]actions.Held, error) {
		if namespace != gw {
			t.Errorf("asked about %q", namespace)
		}
		return held, nil
	}
}

// runLimits runs top --limits on leases of the test's own.
func runLimits(t *testing.T, read reading, args ...string) (code int, stdout, stderr string) {
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(topCommandWith(&top{flags: &flags{}, read: read, take: func(context.Context, census.Options) (census.Report, error) {
		t.Error("a census was taken")
		return census.Report{}, nil
	}}))
	var out, errs bytes.Buffer
	code = program.Execute(t.Context(), root, append([]string{"top", "--limits"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// A reader whose clock goes on by two seconds with each report, with a ledger of the
// test's own.
func limitsOf(recall func() ([]ledger.Change, error), reports ...[]actions.Held) *limitsReader {
	n := 0
	return &limitsReader{
		namespace: gw, recall: recall, same: func(a, as string) bool { return a == as || strings.HasPrefix(a, "/proc/") },
		clock: func() time.Duration { return time.Duration(98+2*n) * time.Second },
		read: func(string) ([]actions.Held, error) {
			held := reports[min(n, len(reports)-1)]
			n++
			return held, nil
		},
	}
}

func noLedger() ([]ledger.Change, error) { return nil, nil }

// text is a page of the reader's next report.
func (l *limitsReader) text(t *testing.T, rows int, watch bool) string {
	t.Helper()
	r, err := l.report()
	if err != nil {
		t.Fatal(err)
	}
	r.Wall = made
	var b strings.Builder
	for _, line := range (&limitsPage{&r, watch}).lines(rows) {
		if strings.HasSuffix(line.text, " ") {
			t.Errorf("space at the end of %q", line.text)
		}
		b.WriteString(line.text + "\n")
	}
	return b.String()
}

// somebodys is a lease that somebody else has put into our table.
func somebodys() actions.Held {
	h := inForce(actions.Lease{Kind: nft.Drop, Source: netip.MustParsePrefix("10.0.0.9/32")}, 90*time.Second, 1)
	h.Text, h.Timeout = "by\x1bhand", 2*time.Minute
	return h
}

// Who was refused most comes first, and the ledger says since when and why.
func TestLimitsPage(t *testing.T) {
	explained := func() ([]ledger.Change, error) {
		elsewhere, again := limit6, leased(9, limit4)
		elsewhere.Namespace = "/proc/1/ns/net" // the same by another path
		again.Reason = "10.0.0.5 holds 80.0 ± 0.4 % of the table"
		other := drop4
		other.For = time.Hour // not these terms
		return []ledger.Change{leased(2, limit4), leased(3, elsewhere), shortened(), leased(7, other), again}, nil
	}
	held := []actions.Held{
		inForce(dns, 9*time.Minute+30*time.Second, 0), inForce(limit4, 11300*time.Millisecond, 12345),
		inForce(limit6, 2*time.Second, 99), inForce(drop4, time.Minute, 1234567), somebodys(),
	}
	l := limitsOf(explained, held)
	want := `2 sources limited, 2 sources dropped, 1 flow untracked; 1,247,012 packets refused

SOURCE OR FLOW  TERMS                REFUSED   LEFT   OF  SINCE                CHANGE  REASON
10.0.0.5        all dropped        1,234,567     1m   1m
10.0.0.5        50/s, burst 1,000     12,345    11s  15s  2026-01-02 03:04:05       9  10.0.0.5 holds 80.0 ± 0.4 % of the table
2001:db8::/64   50/s, burst 1,000         99     2s  15s  2026-01-02 03:04:05       3  because
10.0.0.9        drop "by\x1bhand"          1  1m30s   2m
dns             untracked                  -  9m30s  10m
`
	if d := cmp.Diff(want, l.text(t, 20, false)); d != "" {
		t.Errorf("the page differs (-want +got):\n%s", d)
	}
}

// Without a ledger all but the reasons is there, and it says why they are not.
func TestLimitsPageWithoutLedger(t *testing.T) {
	l := limitsOf(func() ([]ledger.Change, error) { return nil, errors.New("find the ledger: no luck") },
		[]actions.Held{inForce(limit4, time.Second, 1), inForce(limit6, time.Second, 0)})
	want := `2 sources limited; 1 packet refused

SOURCE OR FLOW  TERMS              REFUSED  LEFT   OF
10.0.0.5        50/s, burst 1,000        1    1s  15s
1 more listed: -n 2 shows them
Since when and why can't be told: find the ledger: no luck
`
	if d := cmp.Diff(want, l.text(t, 1, false)); d != "" {
		t.Errorf("the page differs (-want +got):\n%s", d)
	}
	empty := limitsOf(func() ([]ledger.Change, error) { return nil, errors.New("no ledger") }, nil)
	if got := empty.text(t, 20, false); got != "No source is limited or dropped, and no flow bypasses tracking.\n" {
		t.Errorf("of nothing: %q", got)
	}
	if got := empty.text(t, 20, true); got != "03:04:05  No source is limited or dropped, and no flow bypasses tracking.\n" {
		t.Errorf("of nothing, in a watch: %q", got)
	}
}

// A watch tells how many packets are refused a second; a counter that began anew counts
// from there, and of a newcomer the rate is not known.
func TestLimitsPageWatch(t *testing.T) {
	l := limitsOf(noLedger,
		[]actions.Held{inForce(limit4, time.Second, 1000), inForce(drop4, time.Second, 500)},
		[]actions.Held{inForce(limit4, time.Second, 21000), inForce(drop4, time.Second, 40), inForce(limit6, time.Second, 7), inForce(dns, time.Second, 0)},
	)
	if first := l.text(t, 20, true); strings.Contains(first, "/S") || !strings.HasPrefix(first, "03:04:05  1 source limited, 1 source dropped; 1,500 packets refused\n\n") {
		t.Errorf("the first page:\n%s", first)
	}
	want := `03:04:05  2 sources limited, 1 source dropped, 1 flow untracked; 21,047 packets refused, 10,020/s

SOURCE OR FLOW  TERMS              REFUSED  REFUSED/S  LEFT   OF
10.0.0.5        50/s, burst 1,000   21,000     10,000    1s  15s
10.0.0.5        all dropped             40         20    1s   1m
2001:db8::/64   50/s, burst 1,000        7               1s  15s
1 more listed
`
	if d := cmp.Diff(want, l.text(t, 3, true)); d != "" {
		t.Errorf("the second page differs (-want +got):\n%s", d)
	}
}

// Programs read these keys: none goes, or comes to mean something else.
func TestLimitsJSON(t *testing.T) {
	l := limitsOf(func() ([]ledger.Change, error) {
		c := leased(9, limit4)
		c.Made = 40 * time.Second
		return []ledger.Change{c}, nil
	}, []actions.Held{inForce(limit4, 11300*time.Millisecond, 100), inForce(dns, time.Second, 0)}, []actions.Held{inForce(limit4, 9300*time.Millisecond, 140), inForce(dns, time.Second, 0)})
	if _, err := l.report(); err != nil {
		t.Fatal(err)
	}
	r, err := l.report()
	if err != nil {
		t.Fatal(err)
	}
	r.Wall = time.Unix(0, 0).UTC()
	for i := range r.Leases {
		if since := r.Leases[i].Since; since != nil {
			*since = time.Unix(60, 0).UTC()
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "time": "1970-01-01T00:00:00Z",
  "namespace": "/run/netns/gw",
  "leases": [
    {
      "kind": "limit",
      "source": "10.0.0.5/32",
      "flow": "",
      "terms": "50/s burst 1000 lease 15s",
      "rate": 50,
      "burst": 1000,
      "lease": 15,
      "left": 9.3,
      "refused": 140,
      "refused_per_second": 20,
      "change": 9,
      "since": "1970-01-01T00:01:00Z",
      "held": 62,
      "cause": "table-full",
      "reason": "because"
    },
    {
      "kind": "bypass",
      "source": "",
      "flow": "dns",
      "terms": "untracked 1a2b3c4d lease 10m",
      "rate": 0,
      "burst": 0,
      "lease": 600,
      "left": 1,
      "refused": 0,
      "refused_per_second": 0,
      "change": null,
      "since": null,
      "held": null,
      "cause": "",
      "reason": ""
    }
  ],
  "unexplained": ""
}`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Errorf("printed (-want +got):\n%s", d)
	}
}

func TestLimitsMisuse(t *testing.T) {
	for args, want := range map[string]string{
		"--by source":          "--limits and --by exclude each other",
		"--source 10.0.0.5":    "--limits and --source exclude each other",
		"--sample 5":           "--limits and --sample exclude each other",
		"--full":               "--limits and --full exclude each other",
		"--cpu 0.5":            "--limits and --cpu exclude each other",
		"--watch=1ms":          "--watch must be 1s at least",
		"-n 0":                 "--limit must be 1 at least",
		"--full --by nonsense": "--limits and --",
	} {
		code, stdout, stderr := runLimits(t, func(string) ([]actions.Held, error) {
			t.Errorf("%s: the kernel was asked", args)
			return nil, nil
		}, strings.Fields(args)...)
		if code != program.Misused || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

// It needs no policy that can be used, and no ledger.
func TestLimitsCommand(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--namespace", gw, "--state-dir", dir, "--policy", dir + "/none.toml"}
	code, stdout, stderr := runLimits(t, kernelWith(t, inForce(limit4, time.Second, 3)), args...)
	if code != program.Done || stderr != "" || !strings.HasPrefix(stdout, "1 source limited; 3 packets refused\n") ||
		!strings.Contains(stdout, "can't be told: find the ledger: ") {
		t.Errorf("exit code %d, %s%s", code, stderr, stdout)
	}
	code, stdout, stderr = runLimits(t, kernelWith(t), append(args, "--json")...)
	var r limitsReport
	if err := json.Unmarshal([]byte(stdout), &r); code != program.Done || stderr != "" || err != nil || r.Leases == nil || len(r.Leases) > 0 {
		t.Errorf("exit code %d, %s, %v, %s", code, stderr, err, stdout)
	}
	code, stdout, stderr = runLimits(t, func(string) ([]actions.Held, error) { return nil, unix.EPERM }, append(args, "--watch=1s")...)
	if code != program.Failed || stdout != "" || !strings.HasSuffix(stderr, ": run as root\n") {
		t.Errorf("exit code %d, %s%s", code, stderr, stdout)
	}
}

// Only what is in force since this boot can be what the kernel has.
func TestOpenChanges(t *testing.T) {
	dir := t.TempDir()
	if _, err := openChanges(dir); err == nil {
		t.Error("no ledger is no error")
	}
	l, _, err := openLedger(dir, actions.KernelLeases())
	if err != nil {
		t.Fatal(err)
	}
	for _, lease := range []actions.Lease{limit4, limit6, dns} {
		c := leased(0, lease)
		if _, err := l.Intend(ledger.Change{Measure: c.Measure, Edits: c.Edits}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Step(2, ledger.Failed, ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open, err := openChanges(dir)
	var ids []int
	for _, c := range open {
		ids = append(ids, c.ID)
	}
	if err != nil || !slices.Equal(ids, []int{1, 3}) {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestSameNamespace(t *testing.T) {
	runtime.LockOSThread() // others may be elsewhere, the first thread of the process as well
	defer runtime.UnlockOSThread()
	for paths, want := range map[[2]string]bool{
		{"", ""}: true, {"", "/proc/thread-self/ns/net"}: true, {"/proc/thread-self/../" + strconv.Itoa(unix.Gettid()) + "/ns/net", "/proc/thread-self/ns/net"}: true,
		{"/none", "/none"}: true, {"/none", "/nowhere"}: false, {"", "/none"}: false, {"", "/proc/thread-self/ns/mnt"}: false,
	} {
		if got := sameNamespace(paths[0], paths[1]); got != want {
			t.Errorf("%q is %q: %v", paths[0], paths[1], got)
		}
	}
}
