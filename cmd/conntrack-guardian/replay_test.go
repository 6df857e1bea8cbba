package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const recorded = "../../guard/record/testdata/raise-max" + record.EpisodeSuffix

// replays runs the command.
func replays(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(append([]string{"replay"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// The policy of then decides the same; every line fits a terminal.
func TestReplayAsRecorded(t *testing.T) {
	code, out, errs := replays(strings.Replace(recorded, "raise-max", "limit-source", 1))
	if code != program.Done || !strings.Contains(out, "Now: what is done is the same.") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	rows := 0
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > replayWidth {
			t.Errorf("%d columns: %s", n, line)
		}
		if f := strings.Fields(line); len(f) > 2 && strings.Count(f[0], ":") == 2 {
			rows++
			if f[1] != sameMark {
				t.Errorf("not the same: %s", line)
			}
		}
	}
	if rows < 6 {
		t.Errorf("%d decisions:\n%s", rows, out)
	}
}

// An episode is found by its id, and another policy decides otherwise.
func TestReplayByAnotherPolicy(t *testing.T) {
	state := t.TempDir()
	b, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	const id = "20261121T030000Z"
	write := func(name string, b []byte) string {
		path := filepath.Join(state, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(filepath.Join(record.DirName, id+record.EpisodeSuffix), b)
	lower := write("lower.toml", []byte("version = 1\nmode = \"act\"\n[watch]\nwindow = \"2s\"\n[raise_max]\nceiling = 131072\n"))
	code, out, errs := replays(id, "--state-dir", state, "--policy", lower)
	for _, want := range []string{"\npolicy  " + lower, "What is done differs from ", " - ", " + ", "(an estimate)", "max up to 131,072;"} {
		if code != program.Done || !strings.Contains(strings.ReplaceAll(out, "\n(an", " (an"), want) {
			t.Errorf("exit code %d, no %q in:\n%s%s", code, want, out, errs)
		}
	}
	code, out, errs = replays(id, "--state-dir", state, "--policy", lower, "--json")
	var p struct {
		Steps []struct {
			Then, Now []struct {
				Verb    policy.Verb
				Measure policy.Measure
				To      int
			}
			Parted bool
		}
		Then, Now playedSum
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != program.Done {
		t.Fatalf("exit code %d, %v: %s", code, err, errs)
	}
	parted := 0
	for _, st := range p.Steps {
		if st.Parted {
			parted++
		}
		for _, d := range st.Now {
			if d.Verb == policy.Do && d.Measure == policy.RaiseMax && d.To > 131_072 {
				t.Errorf("raised to %d", d.To)
			}
		}
	}
	if parted != 1 || p.Then.Max != 262_144 || p.Now.Max != 131_072 || p.Now.Lost <= p.Then.Lost {
		t.Errorf("parted %d times, %+v then, %+v now", parted, p.Then, p.Now)
	}

	// A record that is damaged is replayed as far as it goes, and fails.
	b[len(b)/2] ^= 1
	damaged := write("damaged"+record.EpisodeSuffix, b)
	if code, out, errs = replays(damaged); code != program.Failed || !strings.Contains(out, "readings in") || !strings.Contains(errs, "damaged.episode: at byte ") {
		t.Errorf("damaged: exit code %d, %s%s", code, out, errs)
	}
}

func TestReplayRefused(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, program.Misused, "accepts 1 arg"},
		{[]string{"a", "b"}, program.Misused, "accepts 1 arg"},
		{[]string{"nonsense"}, program.Failed, "is not the id of an episode"},
		{[]string{"20000101T000000Z", "--state-dir", t.TempDir()}, program.Failed, "--state-dir names the directory"},
		{[]string{"none" + record.EpisodeSuffix}, program.Failed, "no such file"},
		{[]string{"replay_test.go"}, program.Failed, "no flight record"},
		{[]string{recorded, "--policy", "none.toml"}, program.Failed, "none.toml"},
		{[]string{recorded, "--policy", "replay_test.go"}, program.Failed, "replay_test.go:1:"},
	} {
		if code, out, errs := replays(tc.args...); code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("%q: exit code %d, %s%s, want %d and %q", tc.args, code, out, errs, tc.code, tc.want)
		}
	}
}

// The first time that something else is done is told, also where a boot ends what came of
// it and it is done again.
func TestReplayPartsTwice(t *testing.T) {
	var p played
	first := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 2 {
		p.add(&record.Pair{Step: record.Step{Snapshot: policy.Snapshot{Wall: first.Add(time.Duration(i) * time.Hour)}}, Parted: true})
	}
	if p.Parted != first {
		t.Errorf("parted at %v", p.Parted)
	}
}

// Of a record from anywhere no more is kept than fits, and the rest is counted.
func TestReplayOfTooMuch(t *testing.T) {
	var p played
	pair := record.Pair{Step: record.Step{Decisions: make([]policy.Decision, 300)}}
	for range 100 {
		p.add(&pair)
	}
	if p.listed > mostPlayed || p.listed < mostPlayed-300 || p.listed+p.Unlisted != 30_000 || p.Then.Decisions != 30_000 {
		t.Errorf("%d listed, %d not, of %d", p.listed, p.Unlisted, p.Then.Decisions)
	}
	if s := strings.Join(p.summary(), "\n"); !strings.Contains(s, "are not listed") {
		t.Errorf("nothing said of it: %s", s)
	}
	gaps := played{}
	for range mostPlayed + 5 {
		gaps.add(&record.Pair{Step: record.Step{Gap: "gap"}})
	}
	if len(gaps.Steps) != mostPlayed {
		t.Errorf("%d steps", len(gaps.Steps))
	}
}

// Decisions that differ are put beside what they are nearest to.
func TestBeside(t *testing.T) {
	do := func(m policy.Measure, to int, why string) policy.Decision {
		return policy.Decision{Verb: policy.Do, Measure: m, To: to, Reason: why}
	}
	then := []policy.Decision{do(policy.RaiseMax, 2, "x"), do(policy.GrowBuckets, 3, "x"), {Verb: policy.Close}}
	now := []policy.Decision{do(policy.GrowBuckets, 3, "y"), do(policy.RaiseMax, 4, "x"), {Verb: policy.Open}}
	var got []string
	for _, r := range beside(then, now) {
		got = append(got, r.mark+" "+shortly(r.then)+" | "+shortly(r.now))
	}
	want := "! raise-max to 2 | raise-max to 4; ~ grow-buckets to 3 | grow-buckets to 3; - close the episode | ; +  | open"
	if text := strings.Join(got, "; "); text != want {
		t.Errorf("%s\nwant %s", text, want)
	}
	if rows := beside(then, then); rows[0].mark != sameMark || rows[2].mark != sameMark {
		t.Errorf("%+v", rows)
	}
}

// What a record from elsewhere says does not command the terminal.
func TestReplayIsPrintable(t *testing.T) {
	p := &played{Record: "\x1b[2J", Steps: []playedStep{{
		Gap: "\x1b[2J", Doubt: "\x1b[2J",
		Then: []policy.Decision{{Verb: policy.Do, Measure: policy.Bypass, Terms: &policy.Terms{Flow: "\x1b[2J"}}},
		Now:  []policy.Decision{{Verb: policy.Judge, Outcome: "\x1b[2J"}, {Verb: policy.Open, Cause: "\x1b[2J"}, {Verb: "\x1b[2J", Measure: "\x1b[2J"}},
	}}}
	for _, l := range p.lines() {
		if strings.ContainsRune(l.text, '\x1b') {
			t.Errorf("%q", l.text)
		}
	}
	if len(p.lines()) < 8 {
		t.Error("not all of it is printed")
	}
}
