package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

var update = flag.Bool("update", false, "write the pages printed into testdata")

// Each archive of testdata/top holds a report, the report before it where there
// is one, and pages of it: "page BY ROWS" or, with times and changes, "watch BY
// ROWS".
func TestTopPages(t *testing.T) {
	files, err := filepath.Glob("testdata/top/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { comparePages(t, file) })
	}
}

func comparePages(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reports := map[string]*census.Report{}
	pages := 0
	for i := range archive.Files {
		f := &archive.Files[i]
		if f.Name == "report" || f.Name == "before" {
			reports[f.Name] = readReport(t, f)
			continue
		}
		pages++
		got := printPage(t, f.Name, reports)
		if *update {
			f.Data = []byte(got)
		}
		if diff := cmp.Diff(string(f.Data), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
	}
	if pages == 0 {
		t.Error("no page")
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readReport reads what --json prints. The boot clock, which that leaves out,
// stands for the wall clock.
func readReport(t *testing.T, f *txtar.File) *census.Report {
	t.Helper()
	var r census.Report
	if err := json.Unmarshal(f.Data, &r); err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	r.At = r.Wall.Sub(r.Wall.Truncate(1e9 * 3600))
	return &r
}

func printPage(t *testing.T, name string, reports map[string]*census.Report) string {
	t.Helper()
	var kind, by string
	var rows int
	if _, err := fmt.Sscan(name, &kind, &by, &rows); err != nil || kind != "page" && kind != "watch" {
		t.Fatalf("%q is no page: %v", name, err)
	}
	v, ok := viewBy(by)
	if !ok {
		t.Fatalf("%q: no view %q", name, by)
	}
	p := topPage{view: v, now: reports["report"]}
	if kind == "watch" {
		p.watch, p.before = true, reports["before"]
	}
	var b strings.Builder
	for _, l := range p.lines(rows) {
		if strings.HasSuffix(l.text, " ") {
			t.Errorf("%s: space at the end of %q", name, l.text)
		}
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

func TestQuantile(t *testing.T) {
	bins := []census.Bin{{From: 0, To: 10, Entries: 50}, {From: 11, To: 20, Entries: 0}, {From: 21, To: 41, Entries: 50}}
	for timeout, want := range map[int][]float64{
		0:  {0, 5, 10, 31, 41},
		20: {0, 5, 10, 31, 41}, // more than the sysctl says: somebody else's timeouts
		31: {0, 5, 10, 26, 31},
		50: {0, 5, 10, 31, 41},
	} {
		for i, q := range []float64{0, 0.25, 0.5, 0.75, 1} {
			if got := quantile(census.Class{Timeout: timeout, Remaining: bins}, q); got != want[i] {
				t.Errorf("quantile %v is %v with a timeout of %d, want %v", q, got, timeout, want[i])
			}
		}
	}
	if got := quantile(census.Class{}, 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing is %v", got)
	}
}

func TestSpanText(t *testing.T) {
	for seconds, want := range map[time.Duration]string{
		0: "0s", 120: "2m", 125: "2m5s", 7440: "2h4m", 432000: "5 days", 426000: "4.9 days", 172800: "2 days",
	} {
		if got := spanText(seconds * time.Second); got != want {
			t.Errorf("%d s is %q, want %q", seconds, got, want)
		}
	}
}

func TestAboutText(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0s", 0.6: "1s", 59.4: "59s", 59.9: "1m", 108: "1m50s", 633: "11m", 7440: "2h", 40000: "11h", 425000: "4.9 days",
	} {
		if got := aboutText(seconds); got != want {
			t.Errorf("%v s are %q, want %q", seconds, got, want)
		}
	}
	if got := aboutText(math.NaN()); got != "-" {
		t.Errorf("no number is %q", got)
	}
}

func TestRateText(t *testing.T) {
	for rate, want := range map[float64]string{
		0: "0", 0.04: "0", -0.04: "0", 0.2: "+0.2", -9.94: "-9.9", 9.95: "+10", 16627.4: "+16,627", -1234.5: "-1,235",
	} {
		if got := rateText(rate); got != want {
			t.Errorf("%v is %q, want %q", rate, got, want)
		}
	}
}
