package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// recordFlood makes the flight record of a flood in a state directory: a limit that is
// raised once, while nothing is lost, and lowered after the episode.
func recordFlood(t *testing.T, dir string) {
	t.Helper()
	r, err := record.Open(recordDir(dir), record.Options{
		Size: 1 << 20, Boot: "a-boot", Values: func() map[string]string { return map[string]string{"nf_conntrack_max": "65536", "x": "1"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := policy.Default()
	cfg.Mode, cfg.Watch.Calm, cfg.RaiseMax.Hold = policy.Act, time.Minute, 2*time.Minute
	r.Policy(&cfg)
	var st policy.State
	s := policy.Snapshot{Wall: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), Max: 65_536, Buckets: 65_536, MemAvailable: 4 << 30}
	now := time.Hour
	for i := range 400 {
		now, s.Wall, s.Count = now+time.Second, s.Wall.Add(time.Second), 9_000
		if i > 70 && i < 110 {
			s.Count = min(9_000+6_000*(i-70), 100_000)
		}
		before := st
		var ds []policy.Decision
		st, ds = policy.Decide(st, s, cfg, now)
		r.Add(&before, &s, &cfg, now, ds)
		s.Changes = append([]policy.Change(nil), s.Changes...)
		for _, d := range ds {
			carryOut(&s, d, now)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// carryOut does what was decided, but in a snapshot.
func carryOut(s *policy.Snapshot, d policy.Decision, now time.Duration) {
	switch d.Verb {
	case policy.Do:
		s.Changes = append(s.Changes, policy.Change{
			ID: len(s.Changes) + 1, Measure: d.Measure, State: policy.Applied, Episode: d.Episode, Cause: d.Cause,
			Before: d.From, After: d.To, Made: now + 1, At: now + 1,
		})
		s.Max = d.To
	case policy.Undo:
		for i := range s.Changes {
			if c := &s.Changes[i]; c.ID >= d.Change && c.State == policy.Applied {
				c.State, c.At = policy.Undone, now+1
			}
		}
		s.Max = d.To
	case policy.Judge:
		s.Changes[d.Change-1].Outcome = d.Outcome
	}
}

// printed runs a command that must be done, and returns what it prints.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := execute(args, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("%q: exit code %d: %s", args, code, errs.String())
	}
	return out.String()
}

// What is listed of an episode is what is told of it, by its id and from its file.
func TestEpisodes(t *testing.T) {
	dir := t.TempDir()
	recordFlood(t, dir)
	var rows []episodeRow
	if err := json.Unmarshal([]byte(printed(t, "episodes", "--state-dir", dir, "--json")), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%d episodes: %v", len(rows), err)
	}
	row := rows[0]
	if row.Cause != policy.TableFilling || row.Done < 1 || row.Undone != row.Done || row.Ended.IsZero() || row.Peak < 0.5 {
		t.Errorf("listed as %+v", row)
	}
	text := printed(t, "episodes", "--state-dir", dir)
	for _, want := range []string{row.ID, "05-06 07:09:", "table-filling (spike)", policy.Percent(row.Peak)} {
		if !strings.Contains(text, want) {
			t.Errorf("the list lacks %q:\n%s", want, text)
		}
	}
	var report struct {
		ID           string
		Begun, Ended time.Time
		Peak         struct{ Utilization float64 }
		Changes      []struct{ State, What, Judged, Ended string }
		Losses       struct{ Drop uint64 }
		Kept         int `json:"values_kept"`
	}
	if err := json.Unmarshal([]byte(printed(t, "episodes", "--state-dir", dir, row.ID, "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.ID != row.ID || !report.Begun.Equal(row.Begun) || !report.Ended.Equal(row.Ended) || report.Peak.Utilization != row.Peak ||
		len(report.Changes) != row.Done || report.Losses.Drop != row.Lost || report.Kept != 2 {
		t.Errorf("told %+v, listed %+v", report, row)
	}
	for _, c := range report.Changes { // which is after the episode
		if c.State != string(policy.Undone) || c.Judged == "" || c.Ended == "" {
			t.Errorf("a change is told as %+v", c)
		}
	}
	byID := printed(t, "episodes", "--state-dir", dir, row.ID)
	if byFile := printed(t, "episodes", row.File); byFile != byID || !strings.Contains(byID, "raise nf_conntrack_max from 65,536") {
		t.Errorf("by its file:\n%s\nby its id:\n%s", byFile, byID)
	}
	renamed := filepath.Join(dir, "incident"+record.EpisodeSuffix)
	if err := os.Rename(row.File, renamed); err != nil {
		t.Fatal(err)
	}
	if got := printed(t, "episodes", renamed); got != byID {
		t.Errorf("from a renamed file:\n%s", got)
	}
}

// A page is written whole, over one that is there, or to the standard output.
func TestEpisodePage(t *testing.T) {
	dir := t.TempDir()
	recordFlood(t, dir)
	rows, err := record.Episodes(recordDir(dir))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d episodes: %v", len(rows), err)
	}
	id, file := rows[0].ID, filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, bytes.Repeat([]byte("old"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := printed(t, "episodes", "--state-dir", dir, id, "--html", file); out != "" {
		t.Errorf("said: %s", out)
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("everybody may read of clients: %v, %v", info.Mode(), err)
	}
	if s := string(page); !strings.HasPrefix(s, "<!DOCTYPE html>") || !strings.HasSuffix(strings.TrimSpace(s), "</html>") || strings.Contains(s, "old") {
		t.Errorf("%d bytes of a page: %.60s", len(s), s)
	}
	stamp := func(s string) string { return s[:strings.Index(s, "Written by")] }
	if out := printed(t, "episodes", "--state-dir", dir, id, "--html", "-"); stamp(out) != stamp(string(page)) {
		t.Error("the standard output gets another page")
	}
	pipe := filepath.Join(dir, "link.html")
	if err := os.Symlink("/dev/null", pipe); err != nil {
		t.Fatal(err)
	}
	printed(t, "episodes", "--state-dir", dir, id, "--html", pipe)
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("what is no plain file was replaced: %v, %v", info, err)
	}
}

func TestEpisodesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.MkdirAll(recordDir(empty), 0o750); err != nil {
		t.Fatal(err)
	}
	junk := filepath.Join(dir, "20260506T070809Z"+record.EpisodeSuffix)
	if err := os.WriteFile(junk, []byte("no record at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := printed(t, "episodes", "--state-dir", empty); out != "No episode is recorded.\n" {
		t.Errorf("none: %q", out)
	}
	if out := printed(t, "episodes", "--state-dir", empty, "--json"); out != "[]\n" {
		t.Errorf("none: %q", out)
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--state-dir", filepath.Join(dir, "nowhere")}, 1, "--state-dir names the directory"},
		{[]string{"--state-dir", empty, "20260506T070809Z"}, 1, "no episode 20260506T070809Z"},
		{[]string{"--state-dir", empty, "yesterday"}, 1, `"yesterday" is not the id of an episode`},
		{[]string{"--state-dir", empty, "../../etc/passwd"}, 1, "passwd"},
		{[]string{junk}, 1, junk},
		{[]string{"--html", "x.html"}, 2, "--html is for one episode"},
		{[]string{"--json", "--html", "x.html", junk}, 2, "without --json"},
		{[]string{junk, junk}, 2, "arg"},
		{[]string{junk, "--html", filepath.Join(dir, "no", "where.html")}, 1, ""},
	} {
		var out, errs bytes.Buffer
		if code := execute(append([]string{"episodes"}, tc.args...), &out, &errs); code != tc.code || !strings.Contains(errs.String(), tc.want) || errs.Len() == 0 {
			t.Errorf("%q: exit code %d, %q; want %d and %q", tc.args, code, errs.String(), tc.code, tc.want)
		}
	}
}

func TestLocale(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "C.utf8"}, true},
		{map[string]string{"LC_ALL": "", "LANG": "en_US.utf8"}, true},
		{map[string]string{"LANG": "en_US.ISO-8859-1"}, false},
	} {
		if got := utf8Locale(func(name string) string { return tc.env[name] }); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.env, got, tc.want)
		}
	}
}

// A record from elsewhere does not command the terminal.
func TestEpisodeListIsPrintable(t *testing.T) {
	for _, l := range episodeLines([]episodeRow{{ID: "\x1b[2J", Cause: "\x1b[2J"}, {Cause: "a", Pattern: "\x1b[2J"}}) {
		if strings.ContainsRune(l.text, '\x1b') {
			t.Errorf("%q", l.text)
		}
	}
}
