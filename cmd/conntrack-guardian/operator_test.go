package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// ask runs a sub-command that asks the daemon.
func (s *site) ask(args ...string) (code int, stdout, stderr string) {
	s.Helper()
	var out, errs strings.Builder
	code = execute(args, &out, &errs)
	return code, out.String(), errs.String()
}

func (s *site) status() (st control.Status) {
	s.Helper()
	code, out, errs := s.ask("status", "--json")
	if code != 0 {
		s.Fatalf("status: %d %s", code, errs)
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		s.Fatal(err)
	}
	return st
}

// advising has the policy only advise, by a drop-in.
func (s *site) advising() {
	s.Helper()
	if err := os.Mkdir(s.path("guardian.d"), 0o755); err != nil {
		s.Fatal(err)
	}
	s.write("guardian.d/50-advise.toml", `mode = "advise"
[shorten_timeouts]
mode = "off"
[grow_buckets]
mode = "off"
[limit_source]
rate = 50
share = 0.3
hold = "10s"
`)
}

var adviceLine = regexp.MustCompile(`ACTION=advised .*ADVICE_ID=(\S+) `)

// In mode advise a flood makes one line for each change that would be made, and nothing
// else happens. What the operator approves is done, of what is stale it is said why not.
func TestRootAdviseAndApprove(t *testing.T) {
	s := newSite(t)
	s.advising()
	d := s.start()
	s.flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 4000, Sources: 1, For: time.Minute})
	s.until("advice to raise max and to limit the source", func() bool {
		return d.count("ACTION=advised") >= 2
	})
	time.Sleep(8 * time.Second) // of a full table
	var ids []string
	for _, m := range adviceLine.FindAllStringSubmatch(d.log.String(), -1) {
		ids = append(ids, m[1])
	}
	t.Logf("advised %q in a flood of %d entries", ids, s.status().Table.Count)
	if len(ids) != 2 || ids[0] == ids[1] || s.max() != baseline || len(s.changes()) != 0 {
		t.Fatalf("advised %q, max %d, changes %v", ids, s.max(), s.changes())
	}
	slices.Sort(ids)
	raise := ids[slices.IndexFunc(ids, func(id string) bool { return strings.HasPrefix(id, "raise-max-") })]
	limit := ids[slices.IndexFunc(ids, func(id string) bool { return strings.HasPrefix(id, "limit-source-") })]

	code, out, errs := s.ask("approve", limit)
	if code != 0 || !strings.Contains(out, "limit 10.") {
		t.Fatalf("approve %s: %d %s%s", limit, code, out, errs)
	}
	t.Log(strings.TrimSpace(out))
	if code, out, errs = s.ask("approve", raise); code != 0 || s.max() <= baseline {
		t.Fatalf("approve %s: %d %s%s", raise, code, out, errs)
	}
	t.Log(strings.TrimSpace(out))
	for _, c := range s.changes() {
		if c.ApprovedBy != "root" {
			t.Errorf("change %d approved by %q", c.ID, c.ApprovedBy)
		}
	}
	s.until("two lines that say who approved", func() bool { return d.count("APPROVED_BY=root") == 2 })
	code, _, errs = s.ask("approve", raise)
	if code != 1 || !strings.Contains(errs, "it has been done") {
		t.Errorf("approved twice: %d %s", code, errs)
	}
	code, _, errs = s.ask("approve", "raise-max-00000")
	if code != 1 || !strings.Contains(errs, "there is no such advice") {
		t.Errorf("made up: %d %s", code, errs)
	}
}

// Approval comes too late when the trouble has passed.
func TestRootApproveStale(t *testing.T) {
	s := newSite(t)
	s.advising()
	d := s.start()
	s.fill(60_000)
	s.until("advice", func() bool { return d.count("ACTION=advised") > 0 })
	id := adviceLine.FindStringSubmatch(d.log.String())[1]
	s.empty()
	s.until("an empty table", func() bool { return s.status().Table.Count < 100 })
	code, _, errs := s.ask("approve", id)
	t.Log(strings.TrimSpace(errs))
	if code != 1 || !strings.Contains(errs, "not wanted now") || s.max() != baseline {
		t.Errorf("%d %s, max %d", code, errs, s.max())
	}
	s.until("the end of the episode", func() bool { return d.count("ACTION=episode-closed") == 1 })
	if code, _, errs = s.ask("approve", id); code != 1 || !strings.Contains(errs, "the trouble that it was for is over") {
		t.Errorf("%d %s", code, errs)
	}
	if n := d.count("ACTION=approval-refused"); n != 2 {
		t.Errorf("%d lines of refusals", n)
	}
}

// What an operator takes back stays back, and a pause is one.
func TestRootRollbackAndPause(t *testing.T) {
	s := newSite(t)
	d := s.start()
	code, out, errs := s.ask("pause", "1m")
	if code != 0 || !strings.Contains(out, "nothing is changed until") {
		t.Fatalf("pause: %d %s%s", code, out, errs)
	}
	s.fill(60_000)
	s.until("advice", func() bool { return d.count("ACTION=advised") == 1 })
	if s.max() != baseline || d.count("not done: paused by root until") != 1 {
		t.Errorf("max %d while paused\n%s", s.max(), d.log.String())
	}
	d.kill() // a pause outlives the daemon
	d = s.start()
	if st := s.status(); st.Paused == nil || st.Paused.By != "root" {
		t.Errorf("after a restart: paused %+v", st.Paused)
	}
	if code, out, errs = s.ask("resume"); code != 0 {
		t.Fatalf("resume: %d %s%s", code, out, errs)
	}
	s.until("a raise", func() bool { return s.max() > baseline })
	id := s.changes()[len(s.changes())-1].ID
	code, out, errs = s.ask("rollback", fmt.Sprint(id))
	if code == 0 || s.max() == baseline {
		t.Errorf("a full table's max was lowered: %d %s%s", code, out, errs)
	}
	if code, out, errs = s.ask("rollback", "--force", fmt.Sprint(id)); code != 0 || s.max() != baseline {
		t.Fatalf("rollback: %d %s%s, max %d", code, out, errs, s.max())
	}
	time.Sleep(3 * time.Second)
	last := s.changes()[len(s.changes())-1]
	if s.max() != baseline || last.State != ledger.Undone || !strings.HasPrefix(last.Note, "rolled back by hand, by root") {
		t.Errorf("max %d, %+v", s.max(), last)
	}
}

// Who is neither root nor of the group can't command the daemon, and see how it is only
// where the policy lets everybody.
func TestRootStrangerMayNot(t *testing.T) {
	s := newSite(t)
	program := s.path("conntrack-guardian") // where a stranger may run it
	if err := os.Chmod(filepath.Dir(s.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if path, err := exec.LookPath("conntrack-guardian"); err != nil {
		t.Fatal(err)
	} else if text, err := os.ReadFile(path); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	stranger := func(args ...string) (string, error) {
		cmd := exec.Command(program, append(args, "--socket", s.path("control.sock"))...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	d := s.start()
	commands := [][]string{{"pause", "1m"}, {"resume"}, {"rollback", "--all"}, {"reload"}, {"approve", "raise-max-00000"}}
	for _, args := range append(commands, []string{"status"}) {
		if out, err := stranger(args...); err == nil || !strings.Contains(out, "may not use the control socket") {
			t.Errorf("%s: %v: %s", args, err, out)
		}
	}
	text, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("guardian.toml", string(text)+"[control]\nread = \"all\"\n")
	s.until("the reload", func() bool { return d.count("ACTION=reloaded") == 1 })
	for _, args := range commands {
		if out, err := stranger(args...); err == nil || !strings.Contains(out, "nobody (uid 65534) may not") {
			t.Errorf("%s: %v: %s", args, err, out)
		}
	}
	if out, err := stranger("status"); err != nil || !strings.Contains(out, "of 65,536") {
		t.Errorf("status: %v: %s", err, out)
	}
	if n := d.count("ACTION=paused") + d.count("ACTION=reloaded"); n != 1 {
		t.Errorf("%d of them had an effect", n-1)
	}
}
