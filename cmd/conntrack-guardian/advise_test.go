package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A learned hour, and how often it comes in a row.
type learned struct {
	hours, low, high int
	rate             float32
}

// stateWith goes to a directory of the test's own, with a baseline in state.
func stateWith(t *testing.T, part time.Duration, list ...learned) {
	t.Helper()
	type hour struct {
		Low, High int
		Rate      float32
	}
	saved := struct {
		Version int
		Hours   []hour
		Part    hour
		Seen    float64
	}{Version: 1, Hours: []hour{}, Part: hour{1000, 2000, 1}, Seen: part.Seconds()}
	for _, l := range list {
		for range l.hours {
			saved.Hours = append(saved.Hours, hour{l.low, l.high, l.rate})
		}
	}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	err = errors.Join(os.Mkdir("state", 0o755), os.WriteFile("state/baseline.json", bytes.ToLower(text), 0o600),
		os.WriteFile("guardian.toml", []byte("version = 1\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// busyWeek has a peak of 160,000, in 99 of 100 hours.
var busyWeek = []learned{{100, 40_000, 90_000, 120}, {67, 80_000, 160_000, 400}, {1, 80_000, 170_000, 2000}}

// runAdvise runs the command line with a survey of the test's own.
func runAdvise(find func(*survey), args ...string) (code int, stdout, stderr string) {
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(adviseCommandWith(&flags{}, func(f *survey) error { find(f); return nil }))
	var out, errs bytes.Buffer
	code = program.Execute(context.Background(), root, append([]string{"advise", "--policy", "guardian.toml", "--state-dir", "state"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// gatewayFound is a gateway with 8 GiB and the kernel's defaults.
func gatewayFound(f *survey) {
	f.now.Count, f.now.Max, f.now.Buckets, f.now.MemAvailable = 120_000, 262144, 262144, 6<<30
	f.now.Timeouts[policy.TCPTimeWait], f.now.Timeouts[policy.TCPEstablished] = 120, 432000
	f.entry, f.wall = 384, time.Date(2026, 11, 21, 14, 5, 0, 0, time.UTC)
	r := gatewayCensus()
	f.report = &r
	f.services = []policy.ServiceUse{
		{Addr: netip.MustParseAddr("10.0.0.1"), Port: 53, Proto: "udp", Entries: 9600, Own: true},
		{Addr: netip.MustParseAddr("2001:db8:7::20"), Port: 514, Proto: "tcp", Entries: 2400},
	}
}

func gatewayCensus() census.Report {
	figure := func(n int) census.Figure {
		return census.Figure{Entries: n, Low: n - n/50, High: n + n/50, Share: float64(n) / 120_000}
	}
	return census.Report{
		Read: 20_000, Table: 120_000, Max: 262144,
		Classes: []census.Class{
			{Name: "tcp_timeout_time_wait", Timeout: 120, Figure: figure(48_000), Remaining: []census.Bin{
				{From: 96, To: 120, Entries: 12_000, Assured: 12_000}, {From: 10, To: 80, Entries: 36_000, Assured: 36_000},
			}},
			{Name: "tcp_timeout_established", Timeout: 432000, Figure: figure(42_000), Remaining: []census.Bin{
				{From: 430_000, To: 432_000, Entries: 30_000, Assured: 30_000}, {From: 100_000, To: 400_000, Entries: 12_000, Assured: 12_000},
			}},
		},
		Pools: []census.Pool{
			{NAT: netip.MustParseAddr("198.51.100.1"), Dst: netip.MustParseAddr("203.0.113.9"), Port: 443, Proto: "tcp", Lowest: 1024, Highest: 65_500, Ports: 64512, Figure: figure(36_000)},
			{NAT: netip.MustParseAddr("198.51.100.1"), Dst: netip.MustParseAddr("203.0.113.10"), Port: 443, Proto: "tcp", Lowest: 1030, Highest: 65_500, Ports: 64512, Figure: figure(6000)},
		},
	}
}

// adviceCases are what the pages in testdata/advise are of.
var adviceCases = map[string]struct {
	part time.Duration
	week []learned
	find func(*survey)
	args []string
}{
	"week": {week: busyWeek, find: gatewayFound},
	"first-hours": {part: 10 * time.Minute, week: []learned{{3, 20_000, 50_000, 30}}, find: func(f *survey) {
		gatewayFound(f)
		f.report, f.services = nil, nil
		f.note("There is no census, so that nothing is said of timeouts, source ports and untracked services: take a census: no permission.")
	}},
	"hour": {week: []learned{{1, 20_000, 50_000, 0}}, find: func(f *survey) {
		gatewayFound(f)
		f.report = &census.Report{Full: true}
		f.services, f.now.Max, f.now.Buckets = nil, 0, 1024
	}},
	"full-and-short-of-memory": {week: []learned{{100, 40_000, 90_000, 120}, {62, 80_000, 160_000, 400}, {6, 80_000, 1_000_000, 9000}}, args: []string{"--headroom", "3"}, find: func(f *survey) {
		gatewayFound(f)
		f.services = nil
		f.now.MemAvailable, f.now.Max = 1<<30, 1<<20
		f.now.Changes = []policy.Change{{ID: 7, Measure: policy.RaiseMax, State: policy.Applied, Before: 262144, After: 1 << 20}}
		f.record = policy.Peaks{Readings: 86_400, Highest: 1_048_576, Full: 95 * time.Second, Refused: 12_345}
		f.config.Memory.Tables = 2
		f.options.Namespace, f.builtIn = "/run/netns/gw", true
	}},
}

// What is printed and written is as in testdata/advise.
func TestAdviceGolden(t *testing.T) {
	for name, tc := range adviceCases {
		t.Run(name, func(t *testing.T) {
			golden, err := filepath.Abs("testdata/advise/" + name + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			stateWith(t, tc.part, tc.week...)
			code, text, stderr := runAdvise(tc.find, append([]string{"--write", "sizing"}, tc.args...)...)
			if code != program.Done || stderr != "" {
				t.Fatalf("exit code %d, %s", code, stderr)
			}
			got := []txtar.File{{Name: "text", Data: []byte(text)}}
			for _, sub := range sizingDirs {
				got = append(got, txtar.File{Name: sub, Data: read(t, filepath.Join("sizing", sub, sizingName))})
			}
			checkAdvicePage(t, text)
			compareAdvice(t, golden, got)
		})
	}
}

var sizingDirs = []string{"sysctl.d", "modprobe.d", "modules-load.d"}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func compareAdvice(t *testing.T, path string, got []txtar.File) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, txtar.Format(&txtar.Archive{Files: got}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range got {
		if i >= len(want.Files) || want.Files[i].Name != f.Name {
			t.Fatalf("no %s in %s", f.Name, path)
		}
		if diff := cmp.Diff(string(want.Files[i].Data), string(f.Data)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
	}
}

// checkAdvicePage looks whether a page fits a terminal, and each value has what a
// colleague asks for.
func checkAdvicePage(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > adviceWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for part := range strings.SplitSeq(text, "\n\n") {
		if !strings.HasPrefix(part, "net.") && !strings.HasPrefix(part, "Choice: ") {
			continue
		}
		for _, fact := range []string{"why", "cost|frees", "trade-off"} {
			if !regexp.MustCompile(`(?m)^  (` + fact + `) +[A-Z0-9]`).MatchString(part) {
				t.Errorf("no %s in\n%s", fact, part)
			}
		}
	}
}

func TestAdviseJSON(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	code, stdout, stderr := runAdvise(gatewayFound, "--json")
	var a advice
	if err := json.Unmarshal([]byte(stdout), &a); code != program.Done || err != nil {
		t.Fatalf("exit code %d, %s, %v", code, stderr, err)
	}
	if a.Max.To != 327680 || a.Seen.Peak != 160_000 || len(a.Timeouts) != 2 || len(a.Untracked) != 2 || a.Pools[0].Needed != 2 || a.Census != "20,000 of 120,000 entries" {
		t.Errorf("%+v", a)
	}
	var raw map[string]any
	if err := json.Unmarshal([]byte(stdout), &raw); err != nil {
		t.Fatal(err)
	}
	// Programs read these keys: none goes, or comes to mean something else.
	got := map[string][]string{}
	keys("", raw, got)
	for of, list := range map[string]string{
		"": "alerts built_in census files headroom memory namespace nf_conntrack_buckets nf_conntrack_max notes seen snat state_dir time timeouts untracked",

		"seen":                 "full highest hours peak provisional rate readings refused seconds usual",
		"nf_conntrack_max":     "cost key lent now reason to trade_off",
		"nf_conntrack_buckets": "cost key lent now reason to trade_off",
		"memory":               "at_peak available buckets entries entry",
		"alerts":               "entries name reason utilization",
		"timeouts":             "entries frees frees_at_peak gain key now reason share to trade_off",
		"snat":                 "addresses at_peak dst needed port ports proto reason trade_off used",
		"untracked":            "addr entries port proto reason rules share trade_off",
	} {
		if diff := cmp.Diff(strings.Fields(list), got[of]); diff != "" {
			t.Errorf("keys of %q (-want +got):\n%s", of, diff)
		}
		delete(got, of)
	}
	if len(got) > 0 {
		t.Errorf("more keys: %v", got)
	}
}

// Nothing is sized from less than an hour, nothing written, and nothing looked for.
func TestAdviseFromTooLittle(t *testing.T) {
	for name, part := range map[string]time.Duration{"nothing": 0, "59 minutes": 59 * time.Minute} {
		stateWith(t, part)
		looked := false
		code, stdout, stderr := runAdvise(func(*survey) { looked = true }, "--write", "sizing")
		if code != program.Failed || stdout != "" || looked || !strings.Contains(stderr, "too little was seen of the table to size it") || !strings.Contains(stderr, "state/baseline.json") {
			t.Errorf("%s: exit code %d, %s%s", name, code, stdout, stderr)
		}
		if _, err := os.Stat("sizing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it is written: %v", name, err)
		}
	}
	stateWith(t, 0)
	if err := os.WriteFile("state/baseline.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runAdvise(gatewayFound); code != program.Failed || !strings.Contains(stderr, "read the learned baseline state/baseline.json") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestAdviseUsage(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	for args, want := range map[string]string{
		"--headroom 0.5":        "--headroom must be 1 to 100",
		"--headroom NaN":        "--headroom must be 1 to 100",
		"--headroom 101":        "--headroom must be 1 to 100",
		"--full --sample 5":     "exclude each other",
		"--sample 0":            "1 at least",
		"--force":               "--force is for --write",
		"--write=":              "names no directory",
		"extra":                 "unknown command",
		"--write /etc":          "is in /etc",
		"--write /etc/../etc/x": "is in /etc",
		"--write /usr/local/x":  "is in /usr",
		"--write /run":          "is in /run",
		"--write /var/run/x/y":  "is in /run",
		"--write /lib/sysctl.d": "is in /",
		"--write link/x":        "is in /etc",
		"--write dangling":      "leads nowhere",
	} {
		for link, to := range map[string]string{"link": "/etc", "dangling": "/etc/conntrack-guardian-is-not-here"} {
			_ = os.Symlink(to, link) // fails once it is there
		}
		code, stdout, stderr := runAdvise(gatewayFound, strings.Fields(args)...)
		if code == program.Done || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s%s", args, code, stdout, stderr)
		}
	}
}

// What the command line says is what is looked at.
func TestAdviseOptions(t *testing.T) {
	for args, want := range map[string]census.Options{
		"":                                {Namespace: "/run/netns/gw", Sample: 20_000, CPU: 0.25},
		"--full":                          {Namespace: "/run/netns/gw", CPU: 0.25},
		"--sample 77 --namespace /n":      {Namespace: "/n", Sample: 77, CPU: 0.25},
		"--namespace=":                    {Sample: 20_000, CPU: 0.25},
		"--policy broken.toml":            {Sample: 20_000, CPU: 0.5},
		"--policy broken.toml --headroom": {},
	} {
		stateWith(t, 0, busyWeek...)
		const text = "version = 1\nnamespace = \"/run/netns/gw\"\n[census]\ncpu = 0.25\n"
		if err := errors.Join(os.WriteFile("guardian.toml", []byte(text), 0o600), os.WriteFile("broken.toml", []byte("vershun = 1\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		var got census.Options
		code, _, stderr := runAdvise(func(f *survey) { gatewayFound(f); got = f.options }, strings.Fields(args)...)
		if strings.HasSuffix(args, "--headroom") {
			if code != program.Misused {
				t.Errorf("%s: exit code %d", args, code)
			}
			continue
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || code != program.Done {
			t.Errorf("%s: exit code %d, %s (-want +got):\n%s", args, code, stderr, diff)
		}
		if strings.Contains(args, "broken") != strings.Contains(stderr, "broken.toml:1:1: ") {
			t.Errorf("%s: %s", args, stderr)
		}
	}
}

func TestBreakLines(t *testing.T) {
	for text, want := range map[string][]string{
		"":                        {""},
		"one two three":           {"one two", "three"},
		"averylongword and more":  {"averylon", "gword", "and more"},
		"of 100 % of it":          {"of 100 %", "of it"},
		"takes 12 MiB (so) there": {"takes", "12 MiB", "(so)", "there"},
	} {
		if got := breakLines(text, 8); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// What must not be put in force now is said wherever it is printed, and nowhere how to.
func TestAdviseNotNow(t *testing.T) {
	a := &advice{}
	if text := a.sysctlFile(); !strings.Contains(text, "now by sysctl -p") {
		t.Errorf("in calm:\n%s", text)
	}
	a.NotNow = "Do not put it in force now."
	page := ""
	for _, l := range a.lines() {
		page += l.text + "\n"
	}
	for _, text := range []string{a.sysctlFile(), page} {
		if !strings.Contains(text, a.NotNow) || strings.Contains(text, "sysctl -p") {
			t.Errorf("in an incident:\n%s", text)
		}
	}
}
