package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
	"github.com/google/go-cmp/cmp"
)

func TestParseSetsValues(t *testing.T) {
	text := `version = 1
mode = "act"
lease = "20s"
namespace = "/run/netns/gw"
watch.high = "90 %"
watch.low = 0.1
memory = { budget = "12.5%", tables = 3 }
[raise_max]
ceiling = 4_194_304
step = 1.5
hold = "1h30m"
[grow_buckets]
mode = "observe"
shrink = true
[shorten_timeouts]
start = "70%"
retime = false
budget = 0
tcp_timeout_time_wait = { floor = "15s" }
udp_timeout.mode = "observe"
[limit_source]
rate = 30
ipv6_prefix = 56
allow = ["10.0.0.0/8", "2001:db8::1"]
escalation = "drop"
`
	got, problems := Parse("p", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := Default()
	want.Hash, want.Sources = got.Hash, got.Sources
	want.Namespace = "/run/netns/gw"
	p := &want.Policy
	p.Mode = policy.Act
	p.Watch.High, p.Watch.Low = 0.9, 0.1
	p.Memory.Budget, p.Memory.Tables = 0.125, 3
	p.RaiseMax.Ceiling, p.RaiseMax.Step, p.RaiseMax.Hold = 4<<20, 1.5, 90*time.Minute
	p.GrowBuckets.Mode, p.GrowBuckets.Shrink = policy.Observe, true
	m := &p.ShortenTimeouts
	m.Start, m.Retime, m.Budget = 0.7, false, 0
	for i := range m.Floors {
		m.Floors[i].Mode = min(m.Floors[i].Mode, policy.Advise)
	}
	m.Floors[policy.TCPTimeWait] = policy.FloorConfig{Mode: policy.Act, Floor: 15 * time.Second}
	m.Floors[policy.UDP].Mode = policy.Observe
	p.Lease = 20 * time.Second
	l := &p.LimitSource
	l.Mode, l.Rate, l.IPv6Bits, l.Escalation = policy.Act, 30, 56, policy.DropAll
	l.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// Flows come by name, however they are written, with the mode that being written
// approves.
func TestParseSetsFlows(t *testing.T) {
	text := `version = 1
[bypass.ssh]
lifeline = true
from = ["198.51.100.0/24"]
proto = "tcp"
ports = [22, "2200-2210"]
hold = "1m"
[bypass]
dns = { from = ["10.0.0.0/8", "2001:db8::/32"], to = ["192.0.2.53", "2001:db8::53"], proto = "udp", ports = [53] }
gre.proto = 47
Zz.from = ["0.0.0.0/0"]
gre.from = ["::1"]
Zz.to = ["192.0.2.1/32"]
gre.to = ["::/0"]
Zz.proto = "icmp"
gre.mode = "observe"
`
	got, problems := Parse("p", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	in := func(texts ...string) (all []netip.Prefix) {
		for _, s := range texts {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	want := []policy.Flow{
		{Name: "Zz", Mode: policy.Act, From: in("0.0.0.0/0"), To: in("192.0.2.1/32"), Proto: 1, Hold: 10 * time.Minute},
		{
			Name: "dns", Mode: policy.Act, From: in("10.0.0.0/8", "2001:db8::/32"), To: in("192.0.2.53/32", "2001:db8::53/128"),
			Proto: 17, Ports: []policy.Ports{{Low: 53, High: 53}}, Hold: 10 * time.Minute,
		},
		{Name: "gre", Mode: policy.Observe, From: in("::1/128"), To: in("::/0"), Proto: 47, Hold: 10 * time.Minute},
		{
			Name: "ssh", Mode: policy.Act, From: in("198.51.100.0/24"), Proto: 6, Lifeline: true,
			Ports: []policy.Ports{{Low: 22, High: 22}, {Low: 2200, High: 2210}}, Hold: time.Minute,
		},
	}
	if diff := cmp.Diff(want, got.Policy.Bypass, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
}

// A list holds as many values as its documentation says, and not one more.
func TestListsAreBounded(t *testing.T) {
	for n, want := range map[int]int{256: 0, 257: 1} {
		text := "version = 1\nlimit_source.allow = [\n"
		for i := range n {
			text += fmt.Sprintf("\"10.0.%d.%d\",\n", i>>8, i&255)
		}
		if f, problems := Parse("p", []byte(text+"]")); len(problems) != want || want == 0 && len(f.Policy.LimitSource.Allow) != n {
			t.Errorf("%d values: %v", n, problems)
		}
	}
}

// limit-source acts only if its rate is written in the file.
func TestLimitApproval(t *testing.T) {
	for text, want := range map[string]policy.Mode{
		"rate = 50": policy.Act, "burst = 5": policy.Advise, "mode = 'off'": policy.Off, "rate = 50\nmode = 'observe'": policy.Observe,
	} {
		f, problems := Parse("p", []byte("version = 1\n[limit_source]\n"+text))
		if len(problems) > 0 || f.Policy.LimitSource.Mode != want {
			t.Errorf("%s: got %v and %v, want %v", text, f.Policy.LimitSource.Mode, problems, want)
		}
	}
}

// A measure acts only if its ceiling is written in the file.
func TestApproval(t *testing.T) {
	tests := []struct {
		name, text string
		raise      policy.Mode
		problem    string // of raise_max.ceiling, "" for none
	}{
		{"ceiling", "mode = 'act'\n[raise_max]\nceiling = 5", policy.Act, ""},
		{"both", "mode = 'act'\n[raise_max]\nmode = 'act'\nceiling = 5", policy.Act, ""},
		{"global alone", "mode = 'act'", policy.Advise, ""},
		{"no global", "[raise_max]\nstep = 3", policy.Advise, ""},
		{"other ceiling", "mode = 'act'\n[grow_buckets]\nceiling = 8192", policy.Advise, ""},
		{"own", "mode = 'act'\n[raise_max]\nmode = 'act'", 0, "p:4:8"},
		{"own, global advises", "[raise_max]\nmode = 'act'", 0, "p:3:8"},
		{"less", "mode = 'act'\n[raise_max]\nmode = 'observe'", policy.Observe, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, problems := Parse("p", []byte("version = 1\n"+test.text))
			if test.problem != "" {
				want := test.problem + `: raise_max.ceiling: mode "act" needs a ceiling`
				if !strings.HasPrefix(problems.Error(), want) {
					t.Errorf("got %q, want %q", problems, want)
				}
				if !reflect.DeepEqual(f, Default()) {
					t.Errorf("got %+v beside a problem", f)
				}
				return
			}
			if len(problems) > 0 || f.Policy.RaiseMax.Mode != test.raise {
				t.Errorf("got mode %d and %v, want %d", f.Policy.RaiseMax.Mode, problems, test.raise)
			}
		})
	}
}

// A timeout is shortened only if its floor is written in the file.
func TestTimeoutApproval(t *testing.T) {
	tests := []struct {
		name, text                 string
		measure, timeWait, unnamed policy.Mode // of the measure, of TIME_WAIT, of close_wait
		problem                    string      // "" for none
	}{
		{"floor", "tcp_timeout_time_wait = { floor = '9s' }", policy.Act, policy.Act, policy.Advise, ""},
		{"floor, off", "tcp_timeout_time_wait = { floor = '9s', mode = 'off' }", policy.Act, policy.Off, policy.Advise, ""},
		{"all say it", "mode = 'act'\ntcp_timeout_time_wait = { floor = '9s', mode = 'act' }", policy.Act, policy.Act, policy.Advise, ""},
		{"none", "start = 0.7", policy.Advise, policy.Advise, policy.Advise, ""},
		{"less, no floor", "mode = 'observe'\ntcp_timeout_time_wait.mode = 'observe'", policy.Observe, policy.Observe, policy.Advise, ""},
		{"other floor", "tcp_timeout_time_wait.mode = 'act'\nudp_timeout.floor = '9s'", 0, 0, 0, "p:3:30: shorten_timeouts.tcp_timeout_time_wait.floor"},
		{"no floor", "mode = 'act'", 0, 0, 0, "p:3:8: shorten_timeouts.mode"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, problems := Parse("p", []byte("version = 1\n[shorten_timeouts]\n"+test.text))
			if test.problem != "" {
				if len(problems) != 1 || !strings.HasPrefix(problems.Error(), test.problem+`: mode "act" needs`) || !reflect.DeepEqual(f, Default()) {
					t.Errorf("got %q and %+v, want %q and the default", problems, f, test.problem)
				}
				return
			}
			m := &f.Policy.ShortenTimeouts
			got := []policy.Mode{m.Mode, m.Floors[policy.TCPTimeWait].Mode, m.Floors[policy.TCPCloseWait].Mode}
			if want := []policy.Mode{test.measure, test.timeWait, test.unnamed}; len(problems) > 0 || !slices.Equal(got, want) {
				t.Errorf("got %v and %v, want %v", got, problems, want)
			}
			if m.Floors[policy.TCPEstablished].Mode != policy.Off {
				t.Errorf("established TCP is not off")
			}
		})
	}
}

func TestHashTellsTexts(t *testing.T) {
	a, _ := Parse("p", []byte("version = 1\n"))
	b, _ := Parse("q", []byte("version = 1 \n"))
	c, _ := Parse("q", []byte("version = 1\n"))
	if a.Hash == b.Hash || a.Hash != c.Hash {
		t.Errorf("hashes %s, %s, %s", a.Hash, b.Hash, c.Hash)
	}
}

func TestLoadProblems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guardian.toml")
	if err := os.WriteFile(path, []byte("version = 1\nmoed = 'act'\nmode = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(path)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Fatalf("got %v, want two problems", err)
	}
	want := path + `:2:1: moed: unknown; did you mean "mode"?` + "\n" +
		path + `:3:8: mode: want "off", "observe", "advise" or "act", got the number 1`
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
	if !reflect.DeepEqual(f, Default()) {
		t.Errorf("got %+v beside a problem", f)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	large, pipe := filepath.Join(dir, "large"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(large, []byte("version = 1\n"+strings.Repeat("#\n", maxSize/2)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ path, want string }{
		{dir, "read policy: " + dir + " is a directory, not a regular file"},
		{pipe, "read policy: " + pipe + " is a named pipe, not a regular file"},
		{"/dev/zero", "read policy: /dev/zero is a character device, not a regular file"},
		{large, "read policy: " + large + ": larger than 64 KiB, which no policy needs"},
		{filepath.Join(dir, "none"), "read policy: open " + dir + "/none: no such file or directory"},
	}
	for _, test := range tests {
		f, err := Load(test.path)
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
		if !reflect.DeepEqual(f, Default()) {
			t.Errorf("%s: got %+v beside an error", test.path, f)
		}
		if none := filepath.Base(test.path) == "none"; errors.Is(err, fs.ErrNotExist) != none {
			t.Errorf("%s: is ErrNotExist = %v", test.path, !none)
		}
	}
}

// What makes the parser slow is refused, so no file holds up a start or reload.
func TestParseIsQuick(t *testing.T) {
	const n = 20_000
	texts := map[string]string{
		"inline tables":      "x = " + strings.Repeat("{a=", n),
		"inline, over lines": "x = " + strings.Repeat("{a=\n", n/2),
		"lists":              "x = " + strings.Repeat("[\n", n),
		"one dotted key":     strings.Repeat("a.", n) + "b = 1\n",
		"dotted keys":        strings.Repeat(strings.Repeat("a.", 500)+"b = 1\n", maxSize/1010),
		"dotted tables":      strings.Repeat("["+strings.Repeat("a.", 500)+"b]\n", maxSize/1010),
		"open string":        "x = \"\"\"\n" + strings.Repeat("x\n", n),
		"faults":             strings.Repeat("x\n", n),
		"headers":            strings.Repeat("[watch]\nx\n", n/4),
		"size":               strings.Repeat("#", maxSize+1),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, problems := Parse("p", []byte(text))
			t.Logf("%v, %d problems", time.Since(begin), len(problems))
			if len(problems) == 0 || len(problems) > 100 {
				t.Errorf("%d problems", len(problems))
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A string that is left open is looked for so far above the fault that it shows.
func TestOpenStringIsLookedForNearby(t *testing.T) {
	for lines, want := range map[int]string{
		maxOpen - 2: "p:2:8: syntax: what begins here isn't closed, or goes wrong on line ",
		maxOpen + 2: "p:1:1: syntax: " + errGaveUp.Error(),
	} {
		text := "version = 1\nmode = \"\"\"\n" + strings.Repeat("# and so on\n", lines)
		_, problems := Parse("p", []byte(text))
		if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.HasPrefix(p.String(), want) }) {
			t.Errorf("%d lines under the open string: got %v, want %s", lines, problems, want)
		}
	}
}

// A bug of the parser's that makes it panic is an error of the text.
func TestParserPanics(t *testing.T) {
	if _, err := decode("a = 1", &panicky{}); err == nil || !strings.Contains(err.Error(), "BUG: as it says") {
		t.Errorf("got %v", err)
	}
}

type panicky struct{}

func (*panicky) UnmarshalTOML(any) error { panic("BUG: as it says") }

func TestNearest(t *testing.T) {
	known := []string{"high", "low", "horizon", "window", "worst_fill_rate"}
	for unknown, want := range map[string]string{
		"hihg": "high", "Low": "low", "horizont": "horizon", "worstfillrate": "worst_fill_rate",
		"worst-fill-rate": "worst_fill_rate", "x": "", "": "", "ceiling": "", "lo": "",
	} {
		if got := Nearest(unknown, known); !reflect.DeepEqual(got, want) {
			t.Errorf("Nearest(%q) = %q, want %q", unknown, got, want)
		}
	}
}

func TestMeant(t *testing.T) {
	known := names(timeoutsTable)
	for unknown, want := range map[string]string{
		"strat": "start", "tcp_timeout_timewait": "tcp_timeout_time_wait",
		"retime_all": "retime", "checksum_of": "check", "end_of_it": "",
		"time_wait": "tcp_timeout_time_wait", "close": "tcp_timeout_close", "nf_conntrack_generic_timeout": "generic_timeout",
		"stream": "", "timeout": "", "_wait": "", "max_retrans": "", "": "",
	} {
		if got := meant(unknown, known); !reflect.DeepEqual(got, want) {
			t.Errorf("meant(%q) = %q, want %q", unknown, got, want)
		}
	}
}

func ExampleProblems() {
	_, problems := Parse("guardian.toml", []byte("version = 1\nmode = \"axt\"\n[watch]\nhorizon = 5\n"))
	fmt.Println(problems)
	// Output:
	// guardian.toml:2:8: mode: want "off", "observe", "advise" or "act", got "axt"; did you mean "act"?
	// guardian.toml:4:11: watch.horizon: a duration needs a unit (ms, s, m, h): write "5s" for seconds
}
