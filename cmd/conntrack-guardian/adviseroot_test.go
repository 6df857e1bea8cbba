package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// advised is what the gateway's table holds in these tests, beside 200 connections to
// itself: half of it in TIME_WAIT for 50 s already, through a full range of source ports;
// a name server that is routed to; and a time server of which one entry is translated.
var advised = []lab.Entries{
	{
		Count: 5000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 70 * time.Second, Sources: 50, Destinations: 1,
		SNAT: lab.NATPool{First: netip.MustParseAddr("198.51.100.1"), Ports: lab.Ports{First: 20000, Last: 24999}},
	},
	{Count: 3000, Proto: unix.IPPROTO_UDP, Replied: true, Timeout: 10 * time.Minute, Sources: 100, Destinations: 1, Ports: []uint16{53}},
	{Count: 2000, Proto: unix.IPPROTO_UDP, Replied: true, Timeout: 10 * time.Minute, Sources: 100, Destinations: 1, Ports: []uint16{123}},
	{
		Count: 1, Proto: unix.IPPROTO_UDP, Replied: true, Timeout: 10 * time.Minute, Sources: 1, FirstSource: 5000, Destinations: 1, Ports: []uint16{123},
		SNAT: lab.NATPool{First: netip.MustParseAddr("198.51.100.2")},
	},
}

const ownPort = 2222

// newAdvisedSite is a gateway whose table has been at 10,000 for 30 hours.
func newAdvisedSite(t *testing.T) *site {
	t.Helper()
	stateWith(t, 0, learned{30, 5000, 10_000, 20})
	s := newSite(t)
	if err := os.CopyFS(s.path("state"), os.DirFS("state")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.gateway.Fill(t.Context(), advised...); err != nil || r.Created != 10_001 {
		t.Fatalf("filled %d: %v %v", r.Created, r.Failed, err)
	}
	if err := s.gateway.Serve(ownPort); err != nil {
		t.Fatal(err)
	}
	c, err := s.gateway.ConnectBy(t.Context(), 200, lab.Way{To: netip.AddrPortFrom(lab.LAN, ownPort), Addresses: 200})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return s
}

// advise runs the command on the site's table.
func (s *site) advise(args ...string) string {
	s.Helper()
	code, stdout, stderr := s.run(append([]string{"advise", "--policy", s.path("guardian.toml"), "--state-dir", s.path("state")}, args...)...)
	if code != program.Done || stderr != "" {
		s.Fatalf("%q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// What is in the table is advised upon: each choice, and nothing that would break.
func TestRootAdvise(t *testing.T) {
	s := newAdvisedSite(t)
	for _, depth := range []string{"--full", "--sample=5000"} {
		var a advice
		if text := s.advise("--json", "--headroom=10", depth); json.Unmarshal([]byte(text), &a) != nil {
			t.Fatalf("%s", text)
		}
		if a.Max.Now != baseline || a.Max.To != 106496 || a.Seen.Hours != 30 || a.Memory.Entry < 256 || a.Memory.Entry > 768 || a.Memory.Available == 0 {
			t.Errorf("%s: %+v %+v %+v", depth, a.Max, a.Seen, a.Memory)
		}
		if len(a.Timeouts) != 1 || a.Timeouts[0].Key != "net.netfilter.nf_conntrack_tcp_timeout_time_wait" ||
			!near(a.Timeouts[0].Entries, 5000, 5) || !near(a.Timeouts[0].Frees, 5000, 5) {
			t.Errorf("%s: %+v", depth, a.Timeouts)
		}
		if p := a.Pools[0]; p.Port != 443 || p.Addresses != 1 || depth == "--full" && (p.Ports != 5000 || p.Used != 5000 || p.Needed != 10) {
			t.Errorf("%s: %+v", depth, p)
		}
		// A service is counted in the whole table, whatever the census.
		if len(a.Untracked) != 2 || a.Untracked[0].Entries != 3000 || a.Untracked[0].Port != 53 || !strings.HasPrefix(a.Untracked[0].Reason, "It is routed") {
			t.Fatalf("%s: %+v", depth, a.Untracked)
		}
		if own := a.Untracked[1]; own.Addr != lab.LAN || own.Port != ownPort || own.Entries != 200 || !strings.HasPrefix(own.Reason, "It is the gateway itself") {
			t.Errorf("%s: %+v", depth, own)
		}
	}
	checkAdvicePage(t, s.advise("--full"))
}

// near reports whether a number is another, but for so many percent.
func near(n, want, percent int) bool {
	return 100*max(n-want, want-n) <= percent*want
}

// What is written the kernel takes, the choices among it, and sysctl reads it as it is
// meant, where there is one.
func TestRootSizingFilesAreTaken(t *testing.T) {
	s := newAdvisedSite(t)
	s.advise("--full", "--headroom=10", "--write", "sizing")
	file := "sizing/sysctl.d/" + sizingName
	text := string(read(t, file))
	settings := regexp.MustCompile(`(?m)^(#?)(net\.[a-z0-9_.]+) = ([0-9]+)$`).FindAllStringSubmatch(text, -1)
	if len(settings) != 3 {
		t.Fatalf("%q of\n%s", settings, text)
	}
	for _, m := range settings {
		set := func() error {
			if err := sysctl.Write(m[2], m[3]); err != nil {
				return err
			}
			got, err := sysctl.Read(m[2])
			if err == nil && got != m[3] {
				err = fmt.Errorf("%s is %s, want %s", m[2], got, m[3])
			}
			return err
		}
		if m[1] == "#" { // a timeout, of the gateway's namespace
			in := set
			set = func() error { return s.gateway.Router.Do(in) }
		}
		if err := set(); err != nil {
			t.Error(err)
		}
	}
	if tool, err := exec.LookPath("sysctl"); err == nil {
		out, err := exec.Command(tool, "--dry-run", "-p", file).CombinedOutput()
		if want := "net.netfilter.nf_conntrack_max = 106496\nnet.netfilter.nf_conntrack_buckets = "; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%v: %s, want %s", err, out, want)
		}
	}
}

// What the guardian has raised for the time being is not the size for good.
func TestRootAdviseBesideTheGuardian(t *testing.T) {
	s := newAdvisedSite(t)
	d := s.start()
	s.fill(45_000)
	s.until("raised", func() bool { return s.max() > baseline })
	raised := s.max()
	var a advice
	text := s.advise("--json")
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if a.Max.Now != baseline || a.Max.Lent < raised {
		t.Errorf("%+v, want %d before and %d now", a.Max, baseline, raised)
	}
	d.stop()
}

// Without the right to take a census the table is sized all the same.
func TestRootAdviseWithoutPrivileges(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	done := make(chan string)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := drop(unix.CAP_NET_ADMIN); err != nil {
			done <- err.Error()
			return
		}
		var out, errs strings.Builder
		code := execute([]string{"advise", "--policy", "guardian.toml", "--state-dir", "state"}, &out, &errs)
		done <- fmt.Sprint(code, " ", errs.String(), out.String())
	}()
	got := strings.Join(strings.Fields(<-done), " ")
	if !strings.HasPrefix(got, "0 Sizes for good") || !strings.Contains(got, "There is no census, so that nothing is said") || !strings.Contains(got, "CAP_NET_ADMIN is needed") {
		t.Errorf("%s", got)
	}
}
