package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// runWhatIf runs plan with a census of the test's own.
func runWhatIf(take func(context.Context, census.Options) (census.Report, error), args ...string) (code int, stdout, stderr string) {
	f := &flags{}
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(planCommandWith(f, &whatIf{top: top{flags: f, take: take, slow: topSlow, cpu: 1}, timeouts: usualTimeouts}))
	var out, errs bytes.Buffer
	code = program.Execute(context.Background(), root, append([]string{"plan"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// usualTimeouts are some of a kernel without SCTP.
func usualTimeouts(string) (t timeout.Table, err error) {
	t.Of[timeout.UDP], t.Of[timeout.TCPTimeWait] = 30, 120
	return t, nil
}

// A class without entries has the timeout that is in force in the policy's namespace.
func TestTimeoutsOfClassesWithoutEntries(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("policy.toml", []byte("version = 1\nnamespace = \"/run/netns/gw\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, asked := &flags{}, ""
	w := &whatIf{top: top{flags: f, take: func(context.Context, census.Options) (census.Report, error) {
		return census.Report{Full: true, Max: 10}, nil
	}}}
	w.timeouts = func(namespace string) (timeout.Table, error) {
		asked = namespace
		return usualTimeouts(namespace)
	}
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(planCommandWith(f, w))
	var out, errs bytes.Buffer
	args := []string{"plan", "--timeouts", "--json", "--policy", "policy.toml", "time_wait=30s", "udp=1m", "sctp_closed=5s"}
	if code := program.Execute(t.Context(), root, args, &out, &errs); code != program.Done || asked != "/run/netns/gw" {
		t.Fatalf("exit code %d, asked %q: %s", code, asked, errs.String())
	}
	var answer shortAnswer
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	to := 30
	want := []shortRow{{Class: "sctp_timeout_closed"}, {Class: "tcp_timeout_time_wait", Timeout: 120, To: &to}, {Class: "udp_timeout", Timeout: 30}}
	if d := cmp.Diff(want, answer.Classes, cmp.AllowUnexported(shortRow{})); d != "" {
		t.Errorf("the classes differ (-want +got):\n%s", d)
	}
	w.timeouts = func(string) (timeout.Table, error) { return timeout.Table{}, errors.New("broken") }
	if _, err := w.withAsked(nil); err == nil || !strings.Contains(err.Error(), "timeouts in force: broken") {
		t.Errorf("an error became %v", err)
	}
}

// Each archive of testdata/timeouts holds a report, a policy, and what is printed for
// command lines: "plan --timeouts ...".
func TestTimeoutsPages(t *testing.T) {
	files, err := filepath.Glob("testdata/timeouts/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		file, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { compareTimeouts(t, file) })
	}
}

func compareTimeouts(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var r *census.Report
	pages := 0
	for i := range archive.Files {
		f := &archive.Files[i]
		switch args := strings.Fields(f.Name); {
		case f.Name == "report":
			r = readReport(t, f)
			continue
		case args[0] != "plan":
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		default:
			pages++
			code, got, stderr := runWhatIf(func(context.Context, census.Options) (census.Report, error) { return *r, nil }, args[1:]...)
			if code != program.Done || stderr != "" {
				t.Errorf("%s: exit code %d, %s", f.Name, code, stderr)
			}
			if *update {
				f.Data = []byte(got)
			}
			if diff := cmp.Diff(string(f.Data), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", f.Name, diff)
			}
		}
	}
	if pages == 0 {
		t.Error("no page")
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What is asked for is read from the policy's namespace, and a broken policy does not
// hide what the table holds.
func TestTimeoutsOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	for file, text := range map[string]string{"right.toml": "version = 1\nnamespace = \"/run/netns/gw\"\n", "broken.toml": "vershun = 1\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, tc := range map[string]struct {
		namespace string
		sample    int
		stdout    string
		stderr    string
	}{
		"--policy right.toml":         {"/run/netns/gw", topSample, "the floor of right.toml", ""},
		"--policy right.toml --full":  {"/run/netns/gw", 0, "the floor of right.toml", ""},
		"--policy broken.toml":        {"", topSample, "the floor of the built-in default", "broken.toml:1:1: "},
		"--policy broken.toml udp=5s": {"", topSample, "all", "this is the table of our own network namespace; --namespace names another; and"},

		"--policy right.toml --namespace /run/netns/b":  {"/run/netns/b", topSample, "the floor of right.toml", ""},
		"--policy broken.toml --namespace /run/netns/b": {"/run/netns/b", topSample, "the floor of the built-in default", "The policy file can't be used: the built-in policy stands for it.\n"},
	} {
		var got census.Options
		code, stdout, stderr := runWhatIf(func(_ context.Context, o census.Options) (census.Report, error) {
			got = o
			r := *bigReport(1)
			r.Classes = []census.Class{{Name: "udp_timeout", Timeout: 30}}
			return r, nil
		}, append([]string{"--timeouts"}, strings.Fields(args)...)...)
		if code != program.Done || got.Namespace != tc.namespace || got.Sample != tc.sample {
			t.Errorf("%s: exit code %d, %+v", args, code, got)
		}
		if !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
			t.Errorf("%s: %s%s, want %q and %q", args, stderr, stdout, tc.stdout, tc.stderr)
		}
	}
}

func TestTimeoutsMisuse(t *testing.T) {
	for args, want := range map[string]string{
		"--timeouts time_wait":                    `"time_wait" is no CLASS=DURATION`,
		"--timeouts time_wiat=30s":                `unknown class "time_wiat"; did you mean "time_wait"?`,
		"--timeouts tcp_timeout_timewait=30s":     `did you mean "tcp_timeout_time_wait"?`,
		"--timeouts nf_conntrack_udp_timeuot=30s": `did you mean "udp_timeout"?`,
		"--timeouts quic=30s":                     `unknown class "quic"; it is one of tcp_timeout_syn_sent, `,
		"--timeouts =30s":                         `unknown class ""; it is one of `,
		"--timeouts stream=30s":                   `"stream" may be udp_timeout_stream or gre_timeout_stream`,
		"--timeouts timeout=30s":                  `"timeout" may be `,
		"--timeouts max_retrans=30s":              `unknown class "max_retrans"`,
		"--timeouts unacknowledged=30s":           "no policy can shorten tcp_timeout_unacknowledged, only tcp_timeout_syn_sent, ",
		"--timeouts sctp_established=30s":         "no policy can shorten sctp_timeout_established, only ",
		"--timeouts dccp=30s":                     "no policy can shorten dccp_timeout, only ",
		"--namespace /run/netns/gw":               "--full, --sample and --namespace are for --timeouts",
		"--timeouts udp=5s udp_timeout=6s":        "udp_timeout is given twice",
		"--timeouts udp=5":                        `"5" is no duration, such as 30s or 2h`,
		"--timeouts udp=":                         `"" is no duration`,
		"--timeouts udp=500ms":                    "whole seconds, 1s at least",
		"--timeouts udp=1500ms":                   "whole seconds",
		"--timeouts udp=-5s":                      "1s at least",
		"udp=5s":                                  `unexpected argument "udp=5s" (a timeout is given with --timeouts)`,
		"--full":                                  "--full, --sample and --namespace are for --timeouts",
		"--sample 5":                              "--full, --sample and --namespace are for --timeouts",
		"--timeouts --sample 0":                   "--sample must be 1 at least",
		"--timeouts --full --sample 5":            "exclude each other",
	} {
		code, stdout, stderr := runWhatIf(func(context.Context, census.Options) (census.Report, error) {
			t.Errorf("%s: a census was taken", args)
			return census.Report{}, nil
		}, strings.Fields(args)...)
		if code != program.Misused || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

// Every class is known by its name, and by all that is clear.
func TestClassNamed(t *testing.T) {
	for word, want := range map[string]string{
		"tcp_time_wait": "tcp_timeout_time_wait", "time_wait": "tcp_timeout_time_wait", "close": "tcp_timeout_close",
		"close_wait": "tcp_timeout_close_wait", "established": "tcp_timeout_established", "udp": "udp_timeout",
		"udp_stream": "udp_timeout_stream", "icmpv6": "icmpv6_timeout", "gre_stream": "gre_timeout_stream",
		"closed": "sctp_timeout_closed", "sctp_shutdown_ack_sent": "sctp_timeout_shutdown_ack_sent", "generic": "generic_timeout",
		"nf_conntrack_udp_timeout": "udp_timeout", "net.netfilter.nf_conntrack_tcp_timeout_close": "tcp_timeout_close",
	} {
		if got, err := classNamed(word); got != want {
			t.Errorf("%s: %q, %v, want %s", word, got, err, want)
		}
	}
	for c := range policy.Timeouts {
		if got, err := classNamed(c.String()); got != c.String() {
			t.Errorf("%s: %q, %v", c, got, err)
		}
	}
}

func TestTimeoutsFailure(t *testing.T) {
	code, stdout, stderr := runWhatIf(func(context.Context, census.Options) (census.Report, error) {
		return census.Report{}, census.ErrAbsent
	}, "--timeouts", "--json")
	if code != program.Failed || stdout != "" || !strings.Contains(stderr, "modprobe nf_conntrack\n") {
		t.Errorf("exit code %d, %q%q", code, stdout, stderr)
	}
}

// A census that takes long shows how far it is.
func TestTimeoutsProgress(t *testing.T) {
	f := &flags{}
	w := &whatIf{top: top{flags: f, take: func(_ context.Context, o census.Options) (census.Report, error) {
		time.Sleep(time.Millisecond)
		o.Progress(3, 12)
		return census.Report{}, errors.New("broken")
	}}}
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(planCommandWith(f, w))
	var out, errs bytes.Buffer
	if program.Execute(t.Context(), root, []string{"plan", "--timeouts"}, &out, &errs) != program.Failed ||
		!strings.HasPrefix(errs.String(), "read 3 entries of 12 (25 %)\n") {
		t.Errorf("%q", errs.String())
	}
}

// Programs read these keys: none goes, or comes to mean something else.
func TestTimeoutsJSONKeys(t *testing.T) {
	r := census.Report{Full: true, Table: 9, Classes: []census.Class{{Name: "udp_timeout", Timeout: 30, Remaining: []census.Bin{{}}}}}
	code, stdout, stderr := runWhatIf(func(context.Context, census.Options) (census.Report, error) { return r, nil }, "--timeouts", "--json", "udp=9s")
	var answer map[string]any
	if err := json.Unmarshal([]byte(stdout), &answer); code != program.Done || err != nil {
		t.Fatalf("exit code %d, %s, %v", code, stderr, err)
	}
	const figure, fates = " entries high low share", " freed sooner kept"
	want := map[string]string{
		"": "time took full read table max floors established retime classes total", "classes": "class timeout to" + figure + fates,
		"total": fates, "kept": "freed sooner", "freed": figure, "sooner": figure,
	}
	got := map[string][]string{}
	keys("", answer, got)
	for of, list := range want {
		fields := strings.Fields(list)
		slices.Sort(fields)
		if diff := cmp.Diff(fields, got[of]); diff != "" {
			t.Errorf("keys of %q (-want +got):\n%s", of, diff)
		}
	}
}
