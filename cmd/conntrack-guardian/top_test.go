package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// runTop runs the command line with a census of the test's own.
func runTop(take func(context.Context, census.Options) (census.Report, error), args ...string) (code int, stdout, stderr string) {
	root := program.Root("conntrack-guardian", "")
	root.AddCommand(topCommandWith(&top{flags: &flags{}, take: take}))
	var out, errs bytes.Buffer
	code = program.Execute(context.Background(), root, append([]string{"top"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// What the command line says is what the census is asked for.
func TestTopOptions(t *testing.T) {
	dir := t.TempDir()
	policy, broken := filepath.Join(dir, "right.toml"), filepath.Join(dir, "broken.toml")
	for file, text := range map[string]string{policy: "version = 1\nnamespace = \"/run/netns/gw\"\n", broken: "vershun = 1\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, tc := range map[string]struct {
		want   census.Options
		by     string // head of the table's first column
		stderr string
	}{
		"":                                       {want: census.Options{Sample: 20000, CPU: 1}, by: "SOURCE"},
		"--full --cpu 0.25":                      {want: census.Options{CPU: 0.25}, by: "SOURCE"},
		"--sample 5 --by state":                  {want: census.Options{Sample: 5, CPU: 1}, by: "TCP STATE"},
		"--source 10.0.0.5":                      {want: census.Options{Sample: 20000, CPU: 1, Source: netip.MustParsePrefix("10.0.0.5/32")}, by: "DESTINATION"},
		"--source ::ffff:10.0.0.5":               {want: census.Options{Sample: 20000, CPU: 1, Source: netip.MustParsePrefix("10.0.0.5/32")}, by: "DESTINATION"},
		"--source 10.0.0.5/24":                   {want: census.Options{Sample: 20000, CPU: 1, Source: netip.MustParsePrefix("10.0.0.0/24")}, by: "DESTINATION"},
		"--source 2001:db8::/64 --by=source":     {want: census.Options{Sample: 20000, CPU: 1, Source: netip.MustParsePrefix("2001:db8::/64")}, by: "SOURCE"},
		"--policy " + policy:                     {want: census.Options{Namespace: "/run/netns/gw", Sample: 20000, CPU: 1}, by: "SOURCE"},
		"--policy " + policy + " --namespace /n": {want: census.Options{Namespace: "/n", Sample: 20000, CPU: 1}, by: "SOURCE"},
		"--policy " + policy + " --namespace=":   {want: census.Options{Sample: 20000, CPU: 1}, by: "SOURCE"},
		"--policy " + broken:                     {want: census.Options{Sample: 20000, CPU: 1}, by: "SOURCE", stderr: "broken.toml:1:1: "},
		"--policy " + broken + " --namespace /n": {want: census.Options{Namespace: "/n", Sample: 20000, CPU: 1}, by: "SOURCE"},
		"--by timeout --policy " + broken: {
			want: census.Options{Sample: 20000, CPU: 1}, by: "CLASS", stderr: "names another; the floors are those of the built-in policy.\n",
		},
		"--by timeout --namespace /n --policy " + broken: {
			want: census.Options{Namespace: "/n", Sample: 20000, CPU: 1}, by: "CLASS", stderr: "used: the floors are those of the built-in policy.\n",
		},
		"--by timeout --namespace /n --policy " + policy: {want: census.Options{Namespace: "/n", Sample: 20000, CPU: 1}, by: "CLASS"},
	} {
		t.Run(args, func(t *testing.T) {
			var got census.Options
			code, stdout, stderr := runTop(func(_ context.Context, o census.Options) (census.Report, error) {
				got = o
				return wideReport(), nil
			}, strings.Fields(args)...)
			if code != program.Done {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			if d := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(census.Options{}, "Progress"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Errorf("asked for (-want +got):\n%s", d)
			}
			if !strings.Contains(stdout, "\n"+tc.by+" ") {
				t.Errorf("no table by %s:\n%s", tc.by, stdout)
			}
			if tc.stderr == "" && stderr != "" || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("stderr %q, want %q", stderr, tc.stderr)
			}
		})
	}
}

// wideReport has a row in each list that the tests ask for.
func wideReport() census.Report {
	r := *bigReport(1)
	r.Services = []census.Service{{Addr: netip.MustParseAddr("10.0.0.9"), Port: 53, Proto: "udp"}}
	r.States = []census.Named{{Name: "TIME_WAIT"}}
	r.Classes = []census.Class{{Name: "tcp_timeout_time_wait", Timeout: 120}}
	return r
}

// The floors are those of the policy.
func TestTopFloors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guardian.toml")
	if err := os.WriteFile(file, []byte("version = 1\n[shorten_timeouts.tcp_timeout_time_wait]\nfloor = \"40s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := census.Report{Full: true, Table: 5, Classes: []census.Class{{
		Name: "tcp_timeout_time_wait", Timeout: 120, Figure: census.Figure{Entries: 5, Low: 5, High: 5},
		Remaining: []census.Bin{{From: 3, To: 3, Entries: 4}, {From: 112, To: 119, Entries: 1}},
	}}}
	_, stdout, stderr := runTop(func(context.Context, census.Options) (census.Report, error) { return r, nil }, "--by", "timeout", "--policy", file)
	if !regexp.MustCompile(`(?m)^CLASS .* FLOOR +FREES +OF TABLE\ntcp_timeout_time_wait .* 40s +4 +80\.0 %$`).MatchString(stdout) {
		t.Errorf("%s%s", stderr, stdout)
	}
}

// Programs read these keys: none goes, or comes to mean something else.
func TestTopJSONKeys(t *testing.T) {
	f := census.Figure{Entries: 1, Low: 1, High: 1, Share: 1}
	full := census.Report{
		Sources: []census.Source{{Figure: f}}, Destinations: []census.Address{{Figure: f}}, Services: []census.Service{{Figure: f}},
		Pools: []census.Pool{{Figure: f}}, Protocols: []census.Named{{Figure: f}}, States: []census.Named{{Figure: f}},
		Zones: []census.Zone{{Figure: f}}, Classes: []census.Class{{Figure: f, Remaining: []census.Bin{{}}}},
	}
	code, stdout, stderr := runTop(func(context.Context, census.Options) (census.Report, error) { return full, nil }, "--json")
	var report map[string]any
	if err := json.Unmarshal([]byte(stdout), &report); code != program.Done || err != nil {
		t.Fatalf("exit code %d, %s, %v", code, stderr, err)
	}
	const figure = " entries high low share"
	want := map[string]string{
		"": "assured closing cpu dead_udp destinations dnat full idle ipv6 max offloaded opening protocols read services " +
			"snat snat_pools source sources states table time timeout_classes took unreplied zones",
		"sources": "prefix" + figure, "destinations": "addr" + figure, "services": "addr port proto" + figure,
		"snat_pools": "nat dst port proto zone lowest highest ports" + figure,
		"protocols":  "name" + figure, "states": "name" + figure, "zones": "zone" + figure,
		"timeout_classes": "name timeout others remaining" + figure, "remaining": "from to entries assured",
	}
	for _, kind := range strings.Fields("assured unreplied snat dnat offloaded ipv6 closing dead_udp opening idle") {
		want[kind] = figure
	}
	got := map[string][]string{}
	keys("", report, got)
	for of, list := range want {
		fields := strings.Fields(list)
		slices.Sort(fields)
		if diff := cmp.Diff(fields, got[of]); diff != "" {
			t.Errorf("keys of %q (-want +got):\n%s", of, diff)
		}
		delete(got, of)
	}
	if len(got) > 0 {
		t.Errorf("more objects: %v", got)
	}
}

// keys gathers the keys of each object in a JSON value, by the object's own key.
func keys(of string, value any, into map[string][]string) {
	switch v := value.(type) {
	case map[string]any:
		into[of] = slices.Sorted(maps.Keys(v))
		for key, field := range v {
			keys(key, field, into)
		}
	case []any:
		for _, element := range v {
			keys(of, element, into)
		}
	}
}

func TestTopMisuse(t *testing.T) {
	for args, want := range map[string]string{
		"--by colour":                  "source, destination, service, state, proto, snat, zone, timeout",
		"--full --sample 20000":        "exclude each other",
		"--sample 5 --source 10.0.0.5": "--sample and --source exclude each other",
		"--sample 0":                   "--sample must be 1 at least",
		"--sample many":                "invalid argument",
		"--limit 0":                    "--limit must be 1 at least",
		"-n -1":                        "--limit must be 1 at least",
		"--watch=500ms":                "--watch must be 1s at least",
		"--watch=0s":                   "--watch must be 1s at least",
		"--watch=5":                    "missing unit",
		"--watch 5s":                   "--watch=2s",
		"--cpu 0":                      "--cpu must be over 0 and at most 1",
		"--cpu 1.1":                    "--cpu must be over 0 and at most 1",
		"--cpu NaN":                    "--cpu must be over 0 and at most 1",
		"--source 10.0.0":              "no address and no prefix",
		"--source fe80::1%lo":          "no address and no prefix",
		"--source 10.0.0.0/33":         "no address and no prefix",
		"--source=":                    "no address and no prefix",
		"--source ::ffff:10.0.0.0/104": "write it as an IPv4 prefix",
	} {
		code, stdout, stderr := runTop(func(context.Context, census.Options) (census.Report, error) {
			t.Errorf("%s: a census was taken", args)
			return census.Report{}, nil
		}, strings.Fields(args)...)
		if code != program.Misused || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

func TestTopFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		args string
		want string
	}{
		"privileges":               {unix.EPERM, "", ": run as root\n"},
		"resized":                  {census.ErrResized, "", "try again once nothing resizes the hash table\n"},
		"not loaded":               {census.ErrAbsent, "", "modprobe nf_conntrack\n"},
		"resized, all read":        {census.ErrResized, "--full", "or take a sample"},
		"in a watch, at its start": {unix.EPERM, "--watch", "run as root"},
	} {
		code, stdout, stderr := runTop(func(context.Context, census.Options) (census.Report, error) {
			return census.Report{}, tc.err
		}, strings.Fields(tc.args)...)
		if code != program.Failed || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit code %d, %q, want %q", name, code, stderr, tc.want)
		}
	}
}

func TestTopProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown []string
		tt := top{full: true, sample: 5, cpu: 1, slow: topSlow, take: func(_ context.Context, o census.Options) (census.Report, error) {
			if o.Sample != 0 {
				t.Errorf("a sample of %d for all", o.Sample)
			}
			o.Progress(1, 10)
			time.Sleep(topSlow)
			o.Progress(3, 12)
			o.Progress(13, 12)
			return census.Report{}, errors.New("broken")
		}}
		if _, err := tt.census(t.Context(), func(text string, _ bool) { shown = append(shown, text) }); err == nil {
			t.Error("the error is lost")
		}
		want := []string{"read 3 entries of 12 (25 %)", "read 13 entries"}
		if d := cmp.Diff(want, shown); d != "" {
			t.Errorf("shown (-want +got):\n%s", d)
		}
	})
}
