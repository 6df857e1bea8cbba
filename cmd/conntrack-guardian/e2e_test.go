package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// Killed in the episode and started again, the daemon settles its ledger, does
// nothing twice, and at the end every value is as before.
func TestRootKilledInTheEpisode(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"ledger whole":          func(b []byte) []byte { return b },
		"last line corrupted":   func(b []byte) []byte { b[len(b)-9] ^= 0x55; return b },
		"last line cut in half": func(b []byte) []byte { return b[:len(b)-40] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			d := s.start()
			s.fill(60000)
			s.until("max is raised", func() bool { return s.max() > baseline })
			raised := s.max()
			d.kill()
			path := s.path("state/ledger.jsonl")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			d = s.start()
			time.Sleep(2 * time.Second)
			if got := s.max(); got != raised {
				t.Errorf("nf_conntrack_max went from %d to %d over the restart", raised, got)
			}
			if n := len(s.changes()); n != 1 {
				t.Errorf("%d changes in the ledger, want the one made before the kill", n)
			}
			s.empty()
			s.until("max is as before", func() bool { return s.max() == baseline })
			s.until("the ledger says so", func() bool { return s.changes()[0].State == ledger.Undone })
			d.stop()
			if n := d.count("failed"); n != 0 {
				t.Errorf("%d failures in the log:\n%s", n, d.log.String())
			}
		})
	}
}

// What another writer puts into nf_conntrack_max during the episode is neither
// fought nor undone, and is journaled once.
func TestRootRivalWriter(t *testing.T) {
	s := newSite(t)
	d := s.start()
	s.fill(60000)
	s.until("max is raised", func() bool { return s.max() > baseline })
	const rival = 100000
	if err := s.hold.Set(rival); err != nil {
		t.Fatal(err)
	}
	s.until("the daemon yields", func() bool { return d.count("ACTION=yielded") > 0 })
	s.fill(30000) // 90 %: a reason to act, were the key still ours
	time.Sleep(2 * time.Second)
	s.empty()
	time.Sleep(5 * time.Second) // more than the hold
	if got := s.max(); got != rival {
		t.Errorf("nf_conntrack_max is %d, the rival wrote %d", got, rival)
	}
	if n := d.count("ACTION=yielded"); n != 1 {
		t.Errorf("yielding was journaled %d times", n)
	}
	d.stop()
	if c := s.changes(); len(c) != 1 || c[0].State != ledger.Yielded {
		t.Errorf("ledger: %+v", c)
	}
}

// Stopped with a change in force, the daemon leaves the capacity, and rollback
// takes it back without the daemon: not while the daemon runs, and not while the
// table needs the room.
func TestRootStopAndRollback(t *testing.T) {
	s := newSite(t)
	d := s.start()
	s.fill(60000)
	s.until("max is raised", func() bool { return s.max() > baseline })
	if code, _, stderr := s.command("rollback", "--all"); code != program.Failed || !strings.Contains(stderr, "--force") || s.max() == baseline {
		t.Errorf("rollback by the daemon of a table in need: exit code %d, max %d, %q", code, s.max(), stderr)
	}
	code, _, stderr := s.command("rollback", "--all", "--socket", s.path("nowhere.sock"))
	if code != program.Failed || !strings.Contains(stderr, fmt.Sprint(d.cmd.Process.Pid)) {
		t.Errorf("rollback beside the daemon: exit code %d, %q does not name the daemon's pid %d", code, stderr, d.cmd.Process.Pid)
	}
	d.stop()
	raised := s.max()
	if raised == baseline {
		t.Error("the stop took the capacity away")
	}
	if code, _, stderr := s.command("rollback", "--all"); code != program.Failed || !strings.Contains(stderr, "--force") || s.max() != raised {
		t.Errorf("rollback of a table in need: exit code %d, max %d, %q", code, s.max(), stderr)
	}
	s.empty()
	code, stdout, stderr := s.command("rollback", "--all", "--json")
	var undone []ledger.Change
	if err := json.Unmarshal([]byte(stdout), &undone); err != nil || code != program.Done || len(undone) == 0 {
		t.Errorf("rollback: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if got := s.max(); got != baseline {
		t.Errorf("nf_conntrack_max is %d after rollback, want %d", got, baseline)
	}
	if code, stdout, _ := s.command("rollback", "--all"); code != program.Done || !strings.Contains(stdout, "Nothing of the guardian's is in force.") {
		t.Errorf("a second rollback: exit code %d, %q", code, stdout)
	}
}

// Too few buckets are answered with more of them, once, and never with a larger
// max; they shrink again only because this policy asks for it.
func TestRootGrowBuckets(t *testing.T) {
	const few = 3072
	s := newSite(t)
	if err := sysctl.Write("net.netfilter.nf_conntrack_buckets", fmt.Sprint(few)); err != nil {
		t.Fatal(err)
	}
	s.settle()
	policy, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("guardian.toml", string(policy)+`[grow_buckets]
ceiling = 262144
hold = "2s"
check = "1s"
shrink = true
`)
	d := s.start()
	s.fill(30000) // 46 % of max, a mean chain of 20
	s.until("buckets are grown", func() bool { return s.buckets() > few })
	if got := s.buckets(); got != 32768 { // 30,000 in units of 8,192
		t.Errorf("%d buckets, want 32,768 for 30,000 entries", got)
	}
	s.until("the effect is judged", func() bool { return d.count("OUTCOME=helped") == 1 })
	if got := s.max(); got != baseline {
		t.Errorf("nf_conntrack_max went to %d for a lack of buckets", got)
	}
	if n := d.count("CAUSE=hash-chains"); n == 0 {
		t.Error("the cause was not named")
	}
	s.empty()
	s.until("buckets are as before", func() bool { return s.buckets() == few })
	d.stop()
	if c := s.changes(); len(c) != 1 || c[0].State != ledger.Undone {
		t.Errorf("ledger: %+v", c)
	}
}

// Without source ports a larger max is useless: the cause is named from the real
// kernel's counters, and max stays as it is, though the table is above the mark.
func TestRootSNATPorts(t *testing.T) {
	s := newSiteWith(t, lab.Options{Ports: lab.Ports{First: 20000, Last: 20499}})
	s.fill(40000) // 61 %: with the flood's losses alone the table is not pressed
	d := s.start()
	r, err := s.gateway.Flood(t.Context(), lab.Flood{Pattern: lab.HalfOpen, Rate: 2000, Count: 8000, For: 10 * time.Second, Sources: 8})
	if err != nil {
		t.Fatal(err)
	}
	s.until("the cause is named", func() bool { return d.count("CAUSE=snat-ports") > 0 })
	d.stop()
	t.Logf("%d flows for 500 ports", r.Sent)
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, "ACTION=episode-opened") {
			t.Log(line)
		}
	}
	if got := s.max(); got != baseline || d.count("ACTION=done") > 0 {
		t.Errorf("nf_conntrack_max went to %d for a lack of ports:\n%s", got, d.log.String())
	}
}

// A second daemon on one state directory is refused with the first one's pid.
func TestRootTwoDaemons(t *testing.T) {
	s := newSite(t)
	d := s.start()
	cmd := exec.Command("conntrack-guardian", "run", "--policy", s.path("guardian.toml"), "--state-dir", s.path("state"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != program.Failed || !strings.Contains(string(out), fmt.Sprint(d.cmd.Process.Pid)) {
		t.Errorf("%v: %s", err, out)
	}
	d.stop()
}

// SIGHUP puts a good policy in force and refuses a bad one with its lines; a
// damaged ledger leaves a daemon that watches and says so.
func TestRootReloadAndDamage(t *testing.T) {
	s := newSite(t)
	good, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	d := s.start()
	hup := func() {
		if err := d.cmd.Process.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	s.write("guardian.toml", "version = 1\nmode = \"atc\"\n")
	hup()
	s.until("the bad policy is refused", func() bool { return d.count("ACTION=policy-rejected") == 1 })
	if d.count("guardian.toml:2:8: mode: ") == 0 {
		t.Errorf("no place in the log:\n%s", d.log.String())
	}
	s.write("guardian.toml", strings.Replace(string(good), `"act"`, `"advise"`, 1))
	hup()
	s.until("the good policy is in force", func() bool { return d.count("mode advise ACTION=reloaded") == 1 })
	s.fill(60000)
	s.until("it advises", func() bool { return d.count("ACTION=advised") == 1 })
	d.stop()
	if got := s.max(); got != baseline {
		t.Errorf("mode advise left max at %d", got)
	}

	s.write("state/ledger.jsonl", "no ledger\n")
	d = s.start()
	s.until("it says that it can't act", func() bool { return d.count("ACTION=unable") == 1 })
	d.stop()
}

// The larger count bounds how far max may be lowered: one max is for all.
func TestRootLargestCount(t *testing.T) {
	s := newSite(t)
	s.fill(5000)
	ours, err := largestCount("")
	if err != nil || ours >= 5000 {
		t.Fatalf("our own table holds %d: %v", ours, err)
	}
	if got, err := largestCount(s.gateway.Router.Path()); err != nil || got < 5000 {
		t.Errorf("the gateway's table holds %d, want 5,000: %v", got, err)
	}
	if got, err := largestCount("/run/netns/none-of-that-name"); err != nil || got < ours {
		t.Errorf("without the namespace: %d, want our own %d: %v", got, ours, err)
	}
}
