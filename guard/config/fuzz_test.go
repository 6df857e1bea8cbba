package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
	"golang.org/x/tools/txtar"
)

// Whatever the text, Parse returns: problems that stand in the text, in order,
// one line each, with the default policy; or a policy inside its bounds.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := Parse("p", text)
		again, same := Parse("p", text)
		if !reflect.DeepEqual(file, again) || !slices.Equal(problems, same) {
			t.Fatalf("two readings differ: %v and %v", problems, same)
		}
		if len(problems) > 0 {
			checkProblems(t, string(text), problems)
			if !reflect.DeepEqual(file, Default()) {
				t.Fatalf("a policy beside problems: %+v", file)
			}
			return
		}
		checkPolicy(t, string(text), file)
	})
}

func checkProblems(t *testing.T, text string, problems Problems) {
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	last := Problem{}
	for _, p := range problems {
		if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len(lines[p.Line-1])+1 {
			t.Errorf("not in the text: %s", p)
		}
		if p.Line < last.Line || p.Line == last.Line && p.Col < last.Col {
			t.Errorf("out of order: %s", p)
		}
		if p.Key == "" || p.Message == "" || p == last || strings.Contains(p.String(), "\n") {
			t.Errorf("badly told: %q", p.String())
		}
		last = p
	}
}

func checkPolicy(t *testing.T, text string, file File) {
	p := &file.Policy
	if p.Watch.Low >= p.Watch.High || p.Watch.Low <= 0 || p.Watch.High > 1 {
		t.Errorf("marks %v, %v", p.Watch.Low, p.Watch.High)
	}
	if p.RaiseMax.Ceiling < 1 || p.RaiseMax.Step < 1.05 || p.GrowBuckets.Ceiling < 8192 {
		t.Errorf("bounds %+v, %+v", p.RaiseMax, p.GrowBuckets)
	}
	checkTimeouts(t, text, &p.ShortenTimeouts)
	acts := min(p.Mode, max(p.RaiseMax.Mode, p.GrowBuckets.Mode)) == policy.Act
	if acts && !strings.Contains(text, "ceiling") && !strings.Contains(text, `\`) {
		t.Errorf("acts without a ceiling")
	}
	if len(file.Hash) != 64 {
		t.Errorf("hash %q", file.Hash)
	}
}

func checkTimeouts(t *testing.T, text string, m *policy.ShortenTimeoutsConfig) {
	says := func(word string) bool { return strings.Contains(text, word) || strings.Contains(text, `\`) }
	if m.Start >= m.End || m.Start <= 0 || m.End > 1 || m.Hold < m.Check || m.Budget != 0 && m.Budget < 10_000 {
		t.Errorf("bounds %+v", *m)
	}
	for i, f := range m.Floors {
		if f.Floor < time.Second || f.Floor%time.Second != 0 {
			t.Errorf("%s: floor %v", policy.Timeout(i), f.Floor)
		}
		if min(m.Mode, f.Mode) == policy.Act && !(says("floor") && says(policy.Timeout(i).String())) {
			t.Errorf("%s acts without a floor", policy.Timeout(i))
		}
	}
	if low := m.Floors[policy.TCPEstablished].Floor; low < 7440*time.Second && !says("below_rfc") {
		t.Errorf("established TCP comes down to %v", low)
	}
}

// seed adds the example and all golden policies.
func seed(f *testing.F) {
	example, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range archive.Files {
			f.Add(a.Data)
		}
	}
}
