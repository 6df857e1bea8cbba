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
	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
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

// The files hold settings and comments alone, as their readers take them, and nothing
// in them is commented out but choices.
func TestSizingFilesAreAccepted(t *testing.T) {
	setting := regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)+ = [1-9][0-9]*$`)
	for name, tc := range adviceCases {
		stateWith(t, tc.part, tc.week...)
		if code, _, stderr := runAdvise(tc.find, append([]string{"--write", "sizing"}, tc.args...)...); code != program.Done {
			t.Fatalf("%s: %s", name, stderr)
		}
		keys := map[string]bool{}
		for line := range strings.Lines(string(read(t, "sizing/sysctl.d/"+sizingName))) {
			line = strings.TrimSuffix(line, "\n")
			choice, isChoice := strings.CutPrefix(line, "#net.")
			switch {
			case isChoice && !setting.MatchString("net."+choice):
				t.Errorf("%s: %q is no setting", name, line)
			case line == "" || line == "#" || strings.HasPrefix(line, "# ") || isChoice:
			case !setting.MatchString(line):
				t.Errorf("%s: %q is no setting and no comment", name, line)
			default:
				key, _, _ := strings.Cut(line, " ")
				keys[key] = true
			}
		}
		if len(keys) != 2 || !keys["net.netfilter.nf_conntrack_max"] || !keys["net.netfilter.nf_conntrack_buckets"] {
			t.Errorf("%s: it sets %v", name, keys)
		}
		for sub, want := range map[string]string{"modprobe.d": `options nf_conntrack hashsize=[1-9][0-9]*`, "modules-load.d": `nf_conntrack`} {
			text := string(read(t, filepath.Join("sizing", sub, sizingName)))
			if !regexp.MustCompile(`\A((#( .*)?)?\n)+` + want + `\n\z`).MatchString(text) {
				t.Errorf("%s: %s is\n%s", name, sub, text)
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

// Services that may be worth a rule are those with a share, of protocols that a rule can
// match, and not too many of them at once.
func TestBusyServices(t *testing.T) {
	service := func(addr, proto string, port uint16, share float64) census.Service {
		return census.Service{Addr: netip.MustParseAddr(addr), Port: port, Proto: proto, Figure: census.Figure{Share: share}}
	}
	dns, log := service("10.0.0.1", "udp", 53, 0.2), service("2001:db8::1", "tcp", 514, 0.005)
	r := census.Report{Services: []census.Service{dns, service("10.0.0.2", "icmp", 2048, 0.1), log, service("10.0.0.3", "tcp", 80, 0.0049)}}
	got := busyServices(&r)
	if len(got) != 2 || got[0] != dns || got[1] != log {
		t.Fatalf("%+v", got)
	}
	flows := flowsTo(got)
	if f := flows[1]; f.From[0].String() != "::/0" || f.To[0].String() != "2001:db8::1/128" || f.Proto != unix.IPPROTO_TCP || f.Ports[0] != (policy.Ports{Low: 514, High: 514}) || f.Name != "1" || f.Mode == policy.Off {
		t.Errorf("%+v", f)
	}
	if f := flows[0]; f.From[0].String() != "0.0.0.0/0" || f.To[0].String() != "10.0.0.1/32" {
		t.Errorf("%+v", f)
	}
	r.Services = slices.Repeat([]census.Service{dns}, 30)
	if got := busyServices(&r); len(got) != 20 {
		t.Errorf("%d at once", len(got))
	}
}

func TestIsOwn(t *testing.T) {
	known := []policy.Allowed{
		{Prefix: netip.MustParsePrefix("10.0.0.9/32"), Why: "name server"}, {Prefix: netip.MustParsePrefix("10.0.0.1/32"), Why: "own address", Own: true},
	}
	for addr, want := range map[string]bool{"10.0.0.1": true, "10.0.0.9": false, "10.0.0.2": false} {
		if isOwn(netip.MustParseAddr(addr), known) != want {
			t.Errorf("%s: want %v", addr, want)
		}
	}
}

// A file that comes about while others are written stays.
func TestSizingFileOfAnother(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeIn(root, sizingFile{"mine", "ours"}, false); !errors.Is(err, fs.ErrExist) || string(read(t, filepath.Join(dir, "mine"))) != "mine" {
		t.Errorf("%v", err)
	}
}

// What is there is replaced by force alone, and then all of it.
func TestAdviseReplacesByForce(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	present := filepath.Join("sizing/modprobe.d", sizingName)
	if err := errors.Join(os.MkdirAll("sizing/modprobe.d", 0o755), os.WriteFile(present, []byte("mine\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runAdvise(gatewayFound, "--write", "sizing")
	if code != program.Failed || !strings.Contains(stderr, present+": it is there already; --force replaces it") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if _, err := os.Stat("sizing/sysctl.d"); !errors.Is(err, fs.ErrNotExist) || string(read(t, present)) != "mine\n" {
		t.Errorf("something is written: %v", err)
	}
	code, _, stderr = runAdvise(gatewayFound, "--write", "sizing", "--force")
	if code != program.Done || !strings.Contains(string(read(t, present)), "hashsize=262144") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// A directory in it that is a link leads nowhere else.
func TestAdviseStaysInItsDirectory(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	outside := t.TempDir()
	if err := errors.Join(os.Mkdir("sizing", 0o755), os.Symlink(outside, "sizing/sysctl.d")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--write", "sizing"}, {"--write", "sizing", "--force"}} {
		code, _, stderr := runAdvise(gatewayFound, args...)
		if left, err := os.ReadDir(outside); code != program.Failed || err != nil || len(left) > 0 {
			t.Errorf("exit code %d, %s: %v %v", code, stderr, left, err)
		}
	}
}

// A record adds what the hours of the baseline don't tell, and what of it can't be read
// is said.
func TestAdviseReadsTheRecord(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	r, err := record.Open("state/record", record.Options{Size: 8 << 20, Boot: "b"})
	if err != nil {
		t.Fatal(err)
	}
	c, st := policy.Default(), policy.State{}
	r.Policy(&c)
	for i := range 20 {
		s := policy.Snapshot{Wall: time.Unix(int64(1000+i), 0), Count: 1000 * i, Max: 19_000, Losses: policy.Counters{Drop: uint64(i / 18)}}
		r.Add(&st, &s, &c, time.Duration(100+i)*time.Second, nil)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f := survey{stateDir: "state"}
	f.replay()
	if f.record.Readings != 20 || f.record.Highest != 19_000 || f.record.Refused != 1 || len(f.notes) > 0 {
		t.Errorf("%+v, %q", f.record, f.notes)
	}
	segments, err := filepath.Glob("state/record/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		if text := read(t, path); len(text) > 200 {
			text[len(text)-100] ^= 1
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f = survey{stateDir: "state"}
	if f.replay(); len(f.notes) != 1 || !strings.HasPrefix(f.notes[0], "Not all of the flight record could be read: state/record/") || f.record.Readings == 0 || f.record.Readings == 20 {
		t.Errorf("%+v, %q", f.record, f.notes)
	}
	if err := os.RemoveAll("state/record"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("state/record", []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = survey{stateDir: "state"}
	if f.replay(); len(f.notes) != 1 || !strings.HasPrefix(f.notes[0], "The flight record could not be read: ") {
		t.Errorf("%q", f.notes)
	}
}

func TestEntryBytes(t *testing.T) {
	const head = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n"
	page := os.Getpagesize()
	for text, want := range map[string]int{
		head + "nf_conntrack_expect 0 0 208 19 1 : tunables 0\nnf_conntrack         144    208    320   12    1 : tunables 0\n": page/12 + 128,
		head + "nf_conntrack 0 0 256 32 2 : tunables\n": 2*page/32 + 128,
		head + "nf_conntrack 0 0 256 0 2\n":             0,
		head + "nf_conntrack 0 0\n":                     0,
		head:                                            0,
	} {
		path := filepath.Join(t.TempDir(), "slabinfo")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := entryBytes(path); got != want {
			t.Errorf("%d, want %d, of\n%s", got, want, text)
		}
	}
	if got := entryBytes(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("%d of no file", got)
	}
}

func TestBuiltIn(t *testing.T) {
	module := t.TempDir()
	if !builtIn(module) {
		t.Error("what has no state of being loaded is not built in")
	}
	if err := os.WriteFile(module+"/initstate", []byte("live\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if builtIn(module) || builtIn(module+"/absent") {
		t.Error("a module is built in")
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

// A directory that was another one when it was looked at is refused when it is opened.
func TestSizingDirSwapped(t *testing.T) {
	system := t.TempDir()
	was := systemDirs
	systemDirs = []string{system}
	defer func() { systemDirs = was }()
	link := filepath.Join(t.TempDir(), "out")
	if err := os.Symlink(system, link); err != nil {
		t.Fatal(err)
	}
	if _, err := writeSizing(link, []sizingFile{{path: "x.conf", text: "x"}}, true); err == nil || !strings.Contains(err.Error(), "come into force") {
		t.Errorf("written: %v", err)
	}
	if left, err := os.ReadDir(system); err != nil || len(left) > 0 {
		t.Errorf("%v: %v", left, err)
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
