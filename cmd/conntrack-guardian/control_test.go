package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// A fakeDaemon answers what it is told to, and notes what it is asked.
type fakeDaemon struct {
	status control.Status
	answer control.Answer
	err    error
	asked  []control.Request
}

func (d *fakeDaemon) Status(context.Context) (*control.Status, error) { return &d.status, nil }

func (d *fakeDaemon) Do(_ context.Context, r control.Request) (*control.Answer, error) {
	r.By = ""
	d.asked = append(d.asked, r)
	if d.err != nil {
		return nil, d.err
	}
	return &d.answer, nil
}

// listen has it answer on a socket of its own.
func (d *fakeDaemon) listen(t *testing.T) (socket string) {
	t.Helper()
	access, err := control.Resolve("", false)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "control") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := control.Listen(filepath.Join(dir, "s"), d, access, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return filepath.Join(dir, "s")
}

// command runs one command line.
func command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandsAskTheDaemon(t *testing.T) {
	d := &fakeDaemon{answer: control.Answer{Message: "well\x1b[2J", Lines: []string{"and more"}}}
	socket := d.listen(t)
	for _, tc := range []struct {
		args []string
		want control.Request
	}{
		{[]string{"approve", "raise-max-3f2a1"}, control.Request{Verb: control.Approve, ID: "raise-max-3f2a1"}},
		{[]string{"reload"}, control.Request{Verb: control.Reload}},
		{[]string{"pause", "1h30m"}, control.Request{Verb: control.Pause, For: 90 * time.Minute}},
		{[]string{"resume"}, control.Request{Verb: control.Resume}},
	} {
		d.asked = nil
		code, out, errs := command(append(tc.args, "--socket", socket)...)
		if code != program.Done || out != "well?[2J\nand more\n" || errs != "" {
			t.Errorf("%v: %d, %q, %q", tc.args, code, out, errs)
		}
		if diff := cmp.Diff([]control.Request{tc.want}, d.asked); diff != "" {
			t.Errorf("%v (-want +asked):\n%s", tc.args, diff)
		}
		code, out, _ = command(append(tc.args, "--json", "--socket", socket)...)
		var a control.Answer
		if err := json.Unmarshal([]byte(out), &a); code != program.Done || err != nil || a.Message != d.answer.Message {
			t.Errorf("%v --json: %d, %v, %q", tc.args, code, err, out)
		}
	}
}

// What was refused ends as failed, with the reason and each of its lines.
func TestCommandsTellRefusals(t *testing.T) {
	d := &fakeDaemon{err: &control.Refusal{Code: control.Rejected, Message: "the policy is rejected", Lines: []string{"a.toml:1:2: b", "a.toml:3:4: c"}}}
	code, out, errs := command("reload", "--socket", d.listen(t))
	if want := "conntrack-guardian: the policy is rejected\na.toml:1:2: b\na.toml:3:4: c\n"; code != program.Failed || out != "" || errs != want {
		t.Errorf("%d, %q, %q, want %q", code, out, errs, want)
	}
	d = &fakeDaemon{err: errors.New("it is on fire")}
	if code, _, errs := command("approve", "x-1", "--socket", d.listen(t)); code != program.Failed || !strings.Contains(errs, "it is on fire") {
		t.Errorf("%d, %q", code, errs)
	}
}

func TestCommandsWithoutDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"status", "--watch"}, {"approve", "x-1"}, {"reload"}, {"pause", "1m"}, {"resume"}} {
		code, out, errs := command(append(args, "--socket", socket)...)
		if code != exitNotRunning || out != "" || !strings.Contains(errs, "the daemon is not running: nobody listens on "+socket+" (run starts one; --socket names another socket)") {
			t.Errorf("%v: %d, %q, %q", args, code, out, errs)
		}
	}
	code, out, errs := command("status", "--check", "--socket", socket)
	if code != int(critical) || !strings.HasPrefix(out, "CRITICAL: the daemon is not running") || strings.Count(out, "\n") != 1 || errs != "" {
		t.Errorf("status --check: %d, %q, %q", code, out, errs)
	}
}

func TestMisusedControlCommands(t *testing.T) {
	for _, args := range [][]string{
		{"approve"},
		{"approve", "a", "b"},
		{"reload", "x"},
		{"resume", "x"},
		{"pause"},
		{"pause", "soon"},
		{"pause", "25h"},
		{"pause", "-1m"},
		{"pause", "10ms"},
		{"status", "x"},
		{"status", "--watch=1ms"},
		{"status", "--watch=-1s"},
		{"status", "--check", "--json"},
		{"status", "--check", "--watch"},
	} {
		if code, _, errs := command(args...); code != program.Misused {
			t.Errorf("%v: %d, %q", args, code, errs)
		}
	}
	if _, _, errs := command("approve"); !strings.Contains(errs, "usage: approve ID\n") {
		t.Errorf("approve without an id: %q", errs)
	}
}

// status prints what the socket says, --json all of it.
func TestStatusCommand(t *testing.T) {
	given := goldenStatus(t, "flood").status
	given.At = time.Now().UTC()
	socket := (&fakeDaemon{status: *given}).listen(t)
	code, out, errs := command("status", "--socket", socket)
	if code != program.Done || !strings.HasPrefix(out, "WARNING   the table is filling, full in 12s") || errs != "" {
		t.Errorf("%d, %q, %q", code, out, errs)
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("control sequences in a file: %q", out)
	}
	code, out, _ = command("status", "--json", "--socket", socket)
	var got control.Status
	if err := json.Unmarshal([]byte(out), &got); code != program.Done || err != nil {
		t.Fatalf("%d, %v", code, err)
	}
	if diff := cmp.Diff(given, &got); diff != "" {
		t.Errorf("--json (-want +got):\n%s", diff)
	}
	if code, out, _ = command("status", "--check", "--socket", socket); code != int(warning) || strings.Count(out, "\n") != 1 {
		t.Errorf("--check: %d, %q", code, out)
	}
}

// newLedger makes a state directory with a ledger, which this process holds.
func newLedger(t *testing.T) (dir string, l *ledger.Ledger) {
	t.Helper()
	dir = t.TempDir()
	l, err := ledger.Open(dir, "boot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return dir, l
}

// rollback asks the daemon that keeps the ledger, and prints what it did as it would have
// printed its own; it does it itself where that daemon does not run.
func TestRollbackAsksTheDaemon(t *testing.T) {
	const before = `[{"id":7,"measure":"raise-max","edits":[{"key":"sysctl:net.netfilter.nf_conntrack_max","before":"65536","after":"131072"}],"state":"undone","boot":"b"}]`
	d := &fakeDaemon{answer: control.Answer{Message: "done", Changes: json.RawMessage(before)}}
	d.status.Daemon.PID = os.Getpid()
	socket := d.listen(t)
	held, l := newLedger(t)
	if _, err := l.Intend(ledger.Change{Measure: "raise-max", Edits: []ledger.Edit{{Key: "sysctl:x", Before: "1", After: "2"}}}); err != nil {
		t.Fatal(err)
	}
	const said = "change 7 undone: nf_conntrack_max 131,072 → 65,536\n"
	for _, tc := range []struct {
		args []string
		want control.Request
	}{
		{[]string{"7", "9", "7"}, control.Request{Verb: control.Rollback, Changes: []int{7, 9}}},
		{[]string{"--all", "--force"}, control.Request{Verb: control.Rollback, All: true, Force: true}},
		{[]string{"--restrictions", "--state-dir", held}, control.Request{Verb: control.Rollback, Restrictions: true}},
	} {
		d.asked = nil
		code, out, errs := command(append([]string{"rollback", "--socket", socket}, tc.args...)...)
		if code != program.Done || out != said || errs != "" {
			t.Errorf("%v: %d, %q, %q", tc.args, code, out, errs)
		}
		if diff := cmp.Diff([]control.Request{tc.want}, d.asked); diff != "" {
			t.Errorf("%v (-want +asked):\n%s", tc.args, diff)
		}
	}
	d.asked, d.answer.Failed = nil, []string{"change 9 waits"}
	if code, out, errs := command("rollback", "--all", "--socket", socket); code != program.Failed || out != said || !strings.Contains(errs, "change 9 waits") {
		t.Errorf("half of it: %d, %q, %q", code, out, errs)
	}
	d.asked = nil
	free, other := newLedger(t)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := command("rollback", "--all", "--socket", socket, "--state-dir", free); code != program.Done || out != nothingLeft(false)+"\n" || errs != "" {
		t.Errorf("a ledger that nobody holds: %d, %q, %q", code, out, errs)
	}
	d.status.Daemon.PID++
	time.Sleep(300 * time.Millisecond) // the status that was given out last is given out again for 200 ms
	for at, why := range map[string]string{socket: fmt.Sprintf("process %d listens there", d.status.Daemon.PID), socket + "none": "nobody listens on"} {
		code, out, errs := command("rollback", "--all", "--socket", at, "--state-dir", held)
		if code != program.Failed || out != "" || !strings.Contains(errs, "is held by") || !strings.Contains(errs, "it was looked for on "+at+": ") || !strings.Contains(errs, why) {
			t.Errorf("another's ledger: %d, %q, %q", code, out, errs)
		}
	}
	t.Setenv("STATE_DIRECTORY", held) // which is not to name a ledger
	if code, _, errs := command("rollback", "--all", "--socket", socket+"none"); code != program.Failed || !strings.Contains(errs, "it was looked for on "+socket+"none: the daemon is not running") {
		t.Errorf("a daemon elsewhere: %d, %q", code, errs)
	}
	if len(d.asked) > 0 {
		t.Errorf("asked for %v", d.asked)
	}
}
