package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// churned is a table after much has come and gone. No entry's fate changes within ten
// seconds.
var churned = []lab.Entries{
	{Count: 9000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 70 * time.Second, Sources: 50},
	{Count: 3000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 118 * time.Second, Sources: 50},
	{Count: 1000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Fixed: true, Timeout: time.Minute},
	{Count: 2000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Timeout: time.Hour}, // of somebody's policy
	{Count: 4000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 300_000 * time.Second},
	{Count: 1000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 431_000 * time.Second},
}

func newChurnedSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	if r, err := s.gateway.Fill(t.Context(), churned...); err != nil || r.Created != 20_000 {
		t.Fatalf("filled %d: %v %v", r.Created, r.Failed, err)
	}
	return s
}

// timeouts runs plan --timeouts on the site's table.
func (s *site) timeouts(args ...string) string {
	s.Helper()
	code, stdout, stderr := s.run(append([]string{"plan", "--timeouts", "--policy", s.path("guardian.toml")}, args...)...)
	if code != program.Done || stderr != "" {
		s.Fatalf("%q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// writeFloor writes a policy with a floor for TIME_WAIT.
func (s *site) writeFloor(floor string) {
	s.Helper()
	s.write("guardian.toml", fmt.Sprintf("version = 1\nnamespace = %q\n[shorten_timeouts.tcp_timeout_time_wait]\nfloor = %q\n", s.gateway.Router.Path(), floor))
}

// What 30 s of TIME_WAIT would free is said without freeing it.
func TestRootPlanTimeouts(t *testing.T) {
	s := newChurnedSite(t)
	text := s.timeouts("--full", "time_wait=30s")
	for _, want := range []string{
		`\A20,000 entries, 30\.5 % of nf_conntrack_max 65,536\nAll were read, in `,
		`(?m)^tcp_timeout_time_wait +14,000 +70\.0 % +2m +30s +9,000 +45\.0 % +3,000$`,
		`(?m)^tcp_timeout_established +5,000 +25\.0 % +5 days +- +- +- +-$`,
		`(?m)^all +20,000 +100\.0 % +9,000 +45\.0 % +3,000$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	text = s.timeouts("--full", "established=2h4m")
	if !strings.Contains(text, "Not among them: 4,000 entries (20.0 %) in ESTABLISHED that are assured.") ||
		!regexp.MustCompile(`(?m)^all +20,000 +100\.0 % +0 +0 % +0$`).MatchString(text) {
		t.Errorf("established connections are not apart:\n%s", text)
	}
	if text := s.timeouts("--full", "udp=10s"); !regexp.MustCompile(`(?m)^udp_timeout +0 +0 % +30s +10s +0 +0 % +0$`).MatchString(text) {
		t.Errorf("a class without entries has no timeout:\n%s", text)
	}
	if n, err := s.gateway.Count(); err != nil || n != 20_000 {
		t.Errorf("%d entries are left, %v", n, err)
	}
}

// What is foretold is what a walk does, but for what lies within a bin: entries of all
// ages end as they were counted.
func TestRootPlanTimeoutsForetellsTheWalk(t *testing.T) {
	s := newSite(t)
	var mix []lab.Entries
	for left := 5; left < 120; left += 3 {
		mix = append(mix, lab.Entries{
			Count: 200, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: time.Duration(left) * time.Second, Sources: 50,
		})
	}
	if r, err := s.gateway.Fill(t.Context(), mix...); err != nil || len(r.Failed) > 0 {
		t.Fatalf("filled %d: %v %v", r.Created, r.Failed, err)
	}
	var answer shortAnswer
	if err := json.Unmarshal([]byte(s.timeouts("--full", "--json", "time_wait=30s")), &answer); err != nil {
		t.Fatal(err)
	}
	if err := s.gateway.SetTimeouts(map[string]int{"tcp_timeout_time_wait": 30}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p := entries.Plan{Namespace: s.gateway.Router.Path(), Retime: true}
	p.Rules[timeout.TCPTimeWait] = entries.Rule{New: 30, Was: []entries.Was{{Timeout: 120}}}
	result, err := entries.Walk(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	deleted, retimed := result.Deleted, result.Retimed
	late := 200 * int(1+time.Since(began)/(3*time.Second)) // that came of age meanwhile, or expired
	freed, sooner := answer.Total.Freed, answer.Total.Sooner
	t.Logf("foretold %+v and %+v; deleted %d, re-timed %d", freed, sooner, deleted, retimed)
	if deleted < freed.Low-late || deleted > freed.High+late || retimed < sooner.Low-late || retimed > sooner.High+late {
		t.Errorf("foretold %+v and %+v; deleted %d, re-timed %d", freed, sooner, deleted, retimed)
	}
	if freed.High-freed.Low > 600 || freed.Low < 5000 || sooner.Low < 1200 {
		t.Errorf("foretold %+v and %+v, which is little", freed, sooner)
	}
}

// A sample tells about the same, and the policy's floors where none are given.
func TestRootPlanTimeoutsOfASample(t *testing.T) {
	s := newChurnedSite(t)
	s.writeFloor("20s")
	text := s.timeouts("--json", "--sample", "4000")
	var answer shortAnswer
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	row := answer.Classes[0]
	if answer.Full || answer.Read != 4000 || answer.Floors != s.path("guardian.toml") || row.Class != "tcp_timeout_time_wait" || row.To == nil || *row.To != 20 {
		t.Fatalf("%+v", answer)
	}
	// One sample in a hundred is further off than one side, hardly any than two.
	if f := row.Freed; f.High-f.Low < 300 || f.Low-(f.High-f.Low)/2 > 9000 || f.High+(f.High-f.Low)/2 < 9000 {
		t.Errorf("%+v, want 9,000", f)
	}
	if answer.Total.Freed.Entries != row.Freed.Entries {
		t.Errorf("%+v in all, %+v of the only class", answer.Total.Freed, row.Freed)
	}
}

// top shows the same floor beside the class.
func TestRootTopFloors(t *testing.T) {
	s := newChurnedSite(t)
	s.writeFloor("30s")
	text := s.top("--full", "--by", "timeout")
	if !regexp.MustCompile(`(?m)^tcp_timeout_time_wait .* 30s +9,000 +45\.0 %$`).MatchString(text) {
		t.Errorf("no floor in\n%s", text)
	}
}
