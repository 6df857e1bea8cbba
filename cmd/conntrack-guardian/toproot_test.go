package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// hog is 30 % of known, all of one source through one NAT pool.
var hog = lab.Entries{
	Count: 12000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 10 * time.Minute,
	Destinations: 1, SNAT: lab.NATPool{First: netip.MustParseAddr("198.51.100.1"), Ports: lab.Ports{First: 20000, Last: 31999}},
}

// known is what the gateway's table holds in these tests.
var known = []lab.Entries{
	hog,
	{Count: 20000, Proto: unix.IPPROTO_TCP, State: lab.SynSent, Timeout: 10 * time.Minute, Sources: 200, FirstSource: 10},
	{Count: 8000, Family: 6, Proto: unix.IPPROTO_UDP, Timeout: 10 * time.Minute, Sources: 100, PerNet: 10},
}

// newKnownSite is a gateway that holds what is known.
func newKnownSite(t *testing.T) (*site, lab.Truth) {
	t.Helper()
	s := newSite(t)
	truth, err := lab.CountTruth(known...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.gateway.Fill(t.Context(), known...)
	if err != nil || r.Created != truth.Entries {
		t.Fatalf("filled %d of %d: %v %v", r.Created, truth.Entries, r.Failed, err)
	}
	return s, truth
}

// top runs the command on the site's table.
func (s *site) top(args ...string) string {
	s.Helper()
	var out, errs strings.Builder
	args = append([]string{"top", "--policy", s.path("guardian.toml")}, args...)
	if code := execute(args, &out, &errs); code != program.Done || errs.Len() > 0 {
		s.Fatalf("%q: exit code %d, %s", args, code, errs.String())
	}
	return out.String()
}

func (s *site) topReport(args ...string) (r census.Report) {
	s.Helper()
	text := s.top(append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		s.Fatalf("%v: %s", err, text)
	}
	return r
}

// A full census finds what is there, and prints the same in both forms.
func TestRootTopFull(t *testing.T) {
	s, truth := newKnownSite(t)
	r := s.topReport("--full", "--by", "zone", "-n", "1")
	if !r.Full || r.Table != truth.Entries || r.Max != baseline || r.Assured.Entries != hog.Count || r.IPv6.Entries != truth.IPv6 {
		t.Errorf("%+v, want a full census of %d entries", r, truth.Entries)
	}
	if len(r.Sources) != 100 || len(r.States) != 2 || r.Services == nil || r.Zones == nil {
		t.Errorf("the lists are not whole: %d sources, %d states", len(r.Sources), len(r.States))
	}
	for _, source := range r.Sources {
		if source.Entries != truth.Sources[source.Prefix] {
			t.Errorf("%d entries of %s, want %d", source.Entries, source.Prefix, truth.Sources[source.Prefix])
		}
	}
	for by, want := range map[string]string{
		"source":  `(?m)^` + hogSource(t) + ` +12,000 +30\.0 %$`,
		"state":   `(?m)^SYN_SENT +20,000 +50\.0 %\nESTABLISHED +12,000 +30\.0 %\n\z`,
		"proto":   `(?m)^tcp +32,000 +80\.0 %\nudp +8,000 +20\.0 %\n\z`,
		"zone":    `(?m)^ +0 +40,000 +100\.0 %\n\z`,
		"snat":    `(?m)^198\.51\.100\.1 +\S+ +443 +tcp +12,000 +18\.6 % +64,512 +20000–31999 +100\.0 %\n\z`,
		"timeout": `(?m)^tcp_timeout_syn_sent +20,000 +50\.0 % +2m +1[01]m +1[01]m +20s +0 +0 %$`,
		"service": `(?m)^\S+ +443 +tcp +32,000 +80\.0 %$`,
	} {
		if text := s.top("--full", "--by", by); !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("--by %s: no %s in\n%s", by, want, text)
		}
	}
}

// hogSource is the address that the hog's entries come from.
func hogSource(t *testing.T) string {
	t.Helper()
	truth, err := lab.CountTruth(hog)
	if err != nil || len(truth.Sources) != 1 {
		t.Fatalf("%v, %v", truth.Sources, err)
	}
	for source := range truth.Sources {
		return source.Addr().String()
	}
	return ""
}

// A sample puts the hog first, at a share near the true one.
func TestRootTopSample(t *testing.T) {
	s, truth := newKnownSite(t)
	text := s.top("--sample", "4000", "-n", "3")
	row := regexp.MustCompile(`(?m)^SOURCE .*\n(\S+) +[\d,]+ +([\d.]+) % +([\d.]+)\n`).FindStringSubmatch(text)
	if row == nil || row[1] != hogSource(t) {
		t.Fatalf("the hog is not first:\n%s", text)
	}
	share, _ := strconv.ParseFloat(row[2], 64)
	side, _ := strconv.ParseFloat(row[3], 64)
	// One sample in a hundred is further off than one side, hardly any than two.
	if side < 1 || side > 3 || math.Abs(share-30) > 2*side {
		t.Errorf("30 %% ± 1.8 expected:\n%s", text)
	}
	if !strings.Contains(text, "40,000 entries, 61.0 % of nf_conntrack_max 65,536\nA sample: 4,000 were read") {
		t.Errorf("the head does not say what was read of what:\n%s", text)
	}
	if r := s.topReport("--sample", "4000"); r.Full || r.Read != 4000 || r.Table != truth.Entries {
		t.Errorf("read %d of %d, full: %v", r.Read, r.Table, r.Full)
	}
}

// The drill-down counts one source, or one prefix, and all of it.
func TestRootTopSource(t *testing.T) {
	s, truth := newKnownSite(t)
	text := s.top("--source", hogSource(t))
	if !strings.HasPrefix(text, "12,000 entries from "+hogSource(t)+", 18.3 % of nf_conntrack_max") ||
		!regexp.MustCompile(`(?m)^DESTINATION +PORT .*\n\S+ +443 +tcp +12,000 +100\.0 %\n\z`).MatchString(text) {
		t.Errorf("want 12,000 entries to one service:\n%s", text)
	}
	var net netip.Prefix
	for source := range truth.Sources {
		if source.Bits() == 64 {
			net = source
		}
	}
	if r := s.topReport("--source", net.String()); r.Table != truth.Sources[net] || r.Table != 800 || len(r.Sources) != 1 {
		t.Errorf("%d entries of %s, want %d", r.Table, net, truth.Sources[net])
	}
	if text := s.top("--source", "192.0.2.77"); !strings.HasSuffix(text, "\nThere are no entries.\n") {
		t.Errorf("entries of nobody:\n%s", text)
	}
}

// A watched is a running watch whose output is no terminal.
type watchedTop struct {
	*site
	cmd *exec.Cmd
	out *bufio.Reader
}

func (s *site) watchTop(args ...string) *watchedTop {
	s.Helper()
	w := &watchedTop{site: s, cmd: exec.Command("conntrack-guardian", append([]string{"top", "--policy", s.path("guardian.toml")}, args...)...)}
	w.cmd.Stderr = os.Stderr
	pipe, err := w.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { w.cmd.Process.Kill(); w.cmd.Wait() })
	w.out = bufio.NewReader(pipe)
	return w
}

// line reads one line, without its end.
func (w *watchedTop) line() string {
	w.Helper()
	line, err := w.out.ReadString('\n')
	if err != nil {
		w.Fatalf("%q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// stop ends the watch by a signal, which is no failure.
func (w *watchedTop) stop(signal os.Signal) (rest string) {
	w.Helper()
	if err := w.cmd.Process.Signal(signal); err != nil {
		w.Fatal(err)
	}
	text, err := io.ReadAll(w.out)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.cmd.Wait(); err != nil {
		w.Errorf("ended with %v", err)
	}
	return string(text)
}

// A watch prints report after report; what came in between is in the changes.
func TestRootTopWatch(t *testing.T) {
	s, _ := newKnownSite(t)
	w := s.watchTop("--watch=2s", "--full", "-n1")
	var first []string
	for !strings.Contains(strings.Join(first, "\n"), " more listed") {
		first = append(first, w.line())
	}
	more := hog
	more.Count, more.Destinations, more.SNAT = 3000, 0, lab.NATPool{}
	if r, err := s.gateway.Fill(t.Context(), more); err != nil || r.Created != more.Count {
		t.Fatalf("%+v, %v", r, err)
	}
	second := []string{w.line(), w.line()}
	for !strings.Contains(second[len(second)-1], " more listed") {
		second = append(second, w.line())
	}
	w.stop(unix.SIGINT)
	text := strings.Join(second, "\n")
	if second[0] != "" || strings.Contains(strings.Join(first, "\n")+text, "\x1b") {
		t.Errorf("reports are not parted by one blank line:\n%q\n%q", first, second)
	}
	row := regexp.MustCompile(`(?m)^` + hogSource(t) + ` +15,000 +34\.9 % +\+([\d,]+)$`).FindStringSubmatch(text)
	if row == nil {
		t.Fatalf("no change of the hog in\n%s", text)
	}
	rate, _ := strconv.Atoi(strings.ReplaceAll(row[1], ",", ""))
	if rate < 1000 || rate > 1600 { // 3,000 in 2 s and a little
		t.Errorf("%d/s, want 1,500/s:\n%s", rate, text)
	}
	if !strings.Contains(second[1], fmt.Sprintf("43,000 entries, 65.6 %% of nf_conntrack_max 65,536, +%s/s", row[1])) {
		t.Errorf("the head has another change: %s", second[1])
	}
}

func TestRootTopWatchJSON(t *testing.T) {
	s, truth := newKnownSite(t)
	w := s.watchTop("--watch=1s", "--json", "--full")
	for range 2 {
		var r census.Report
		if line := w.line(); json.Unmarshal([]byte(line), &r) != nil || r.Table != truth.Entries || len(r.Sources) != 100 {
			t.Errorf("%d entries from %.300s", r.Table, line)
		}
	}
	w.stop(unix.SIGTERM)
}

// A broken policy does not hide who fills the table.
func TestRootTopBrokenPolicy(t *testing.T) {
	s, _ := newKnownSite(t)
	s.write("guardian.toml", "vershun = 1\n")
	code, stdout, stderr := s.run("top", "--policy", s.path("guardian.toml"), "--namespace", s.gateway.Router.Path())
	if code != program.Done || stderr != "" || !strings.HasPrefix(stdout, "40,000 entries") {
		t.Errorf("exit code %d, %s%s", code, stderr, stdout)
	}
	code, stdout, stderr = s.run("top", "--policy", s.path("guardian.toml"))
	if code != program.Done || !strings.Contains(stderr, "guardian.toml:1:1: ") || !strings.Contains(stderr, "our own network namespace") || strings.HasPrefix(stdout, "40,000") {
		t.Errorf("exit code %d, %s%s", code, stderr, stdout)
	}
}

func (s *site) run(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = execute(args, &out, &errs)
	return code, out.String(), errs.String()
}

// Without CAP_NET_ADMIN the command says what is missing.
func TestRootTopWithoutPrivileges(t *testing.T) {
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := drop(unix.CAP_NET_ADMIN); err != nil {
			done <- err.Error()
			return
		}
		var out, errs strings.Builder
		code := execute([]string{"top", "--namespace="}, &out, &errs)
		done <- fmt.Sprint(code, " ", errs.String(), out.String())
	}()
	if got := <-done; !strings.HasPrefix(got, "1 conntrack-guardian: ") || !strings.HasSuffix(got, "(CAP_NET_ADMIN is needed): run as root\n") {
		t.Errorf("%q", got)
	}
}

// drop takes a capability from the calling thread.
func drop(capability int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	sets[capability/32].Effective &^= 1 << (capability % 32)
	return unix.Capset(&header, &sets[0])
}
