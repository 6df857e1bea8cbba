package record

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

var update = flag.Bool("update", false, "rewrite what is expected of the records in testdata")

// TestLabIncidents decides incidents again that a daemon has recorded in the lab, each
// beside a text of what is to come of it. The records stay as they are: what changes with
// the policy is the text, which has what was decided then (<) where it is not the same to
// the letter.
func TestLabIncidents(t *testing.T) {
	files, err := filepath.Glob("testdata/*" + EpisodeSuffix)
	if err != nil || len(files) == 0 {
		t.Fatalf("no records in testdata: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), EpisodeSuffix)
		t.Run(name, func(t *testing.T) { replayFile(t, file, filepath.Join("testdata", name+".txt")) })
	}
}

func replayFile(t *testing.T, file, text string) {
	r := read(t, file)
	if _, exact, why := r.Start(); !exact {
		t.Errorf("%s is of no use any more: %s", file, why)
	}
	var b strings.Builder
	begun := time.Duration(0)
	for _, p := range replay(t, r, nil) {
		if begun == 0 {
			begun = p.Now
		}
		if p.Gap != "" {
			fmt.Fprintf(&b, "%8.3f (%s)\n", (p.Now - begun).Seconds(), p.Gap)
		}
		if !p.Same {
			for _, d := range p.Decisions {
				fmt.Fprintf(&b, "%8.3f < %s\n", (p.Now - begun).Seconds(), line(d))
			}
		}
		for _, d := range p.Replayed {
			fmt.Fprintf(&b, "%8.3f %s\n", (p.Now - begun).Seconds(), line(d))
		}
	}
	if *update {
		if err := os.WriteFile(text, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("decisions differ (-want +got):\n%s", d)
	}
}

// line is a decision as text.
func line(d policy.Decision) string {
	parts := []string{string(d.Verb)}
	add := func(there bool, format string, args ...any) {
		if there {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(d.Measure != "", "%s", d.Measure)
	add(d.Change != 0, "#%d", d.Change)
	add(d.From != d.To, "%d->%d", d.From, d.To)
	if d.Terms != nil {
		add(true, "%+v", *d.Terms)
	}
	for _, e := range d.Timeouts {
		add(true, "%s %d->%d", e.Name, e.From, e.To)
	}
	add(d.ID != "", "id %s", d.ID)
	add(d.ApprovedBy != "", "by %s", d.ApprovedBy)
	add(d.Outcome != "", "[%s]", d.Outcome)
	add(true, "(%s %s %.2f %s) %s", d.Cause, d.Pattern, d.Confidence, d.Episode, d.Reason)
	return strings.Join(parts, " ")
}
