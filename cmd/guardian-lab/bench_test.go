package main

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// The table is what the command's help says of it.
func TestBenchMix(t *testing.T) {
	const size = 65_536
	truth, err := lab.CountTruth(benchMix(size)...)
	if err != nil {
		t.Fatal(err)
	}
	if truth.Entries != size || truth.SNAT != size || len(truth.Sources) != benchSources {
		t.Errorf("%d entries, %d translated, %d sources, want %d, all and %d",
			truth.Entries, truth.SNAT, len(truth.Sources), size, benchSources)
	}
	for what, got := range map[string][2]int{
		"established": {truth.States[lab.Established], 60}, "time-wait": {truth.States[lab.TimeWait], 20},
		"half-open": {truth.States[lab.SynSent], 5}, "udp": {truth.Protocols[17], 15},
	} {
		if share := 100 * float64(got[0]) / size; math.Abs(share-float64(got[1])) > 0.01 {
			t.Errorf("%s: %.2f %%, want %d", what, share, got[1])
		}
	}
	hog, err := benchTruth(size)
	if err != nil || hog.Entries != size || hog.Count != size/10 || truth.Sources[netip.PrefixFrom(hog.Source, 32)] != hog.Count {
		t.Errorf("%+v, %v, want a source with a tenth of the table", hog, err)
	}
	for source, n := range truth.Sources {
		if n > hog.Count/4 && source.Addr() != hog.Source {
			t.Errorf("%s has %d, too near to %d", source, n, hog.Count)
		}
	}
}

func TestBenchSizes(t *testing.T) {
	if got, want := benchSizes(1<<16), (lab.Sizes{Max: 262_144, Buckets: 262_144}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := benchSizes(1<<20), (lab.Sizes{Max: 1_114_112, Buckets: 1_048_576}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A table that does not fit into memory is refused before anything is made.
func TestBenchTooLittleMemory(t *testing.T) {
	if err := checkMemory(1000, math.MaxInt32); err == nil || !strings.Contains(err.Error(), "2,147,483,647 entries") {
		t.Errorf("%v, want a refusal of 5 TB", err)
	}
	if err := checkMemory(1000); err != nil {
		t.Error(err)
	}
}

// Only a program that was named must be there.
func TestBenchFindProgram(t *testing.T) {
	dir := t.TempDir()
	b := bench{self: filepath.Join(dir, "guardian-lab")}
	if err := b.findProgram(false); err != nil || b.program != "" {
		t.Errorf("%q, %v, want none and no error", b.program, err)
	}
	if c := b.programContender(); !strings.Contains(c.Missing, "make") {
		t.Errorf("%+v, want it missing", c)
	}
	b.program = filepath.Join(dir, "nowhere")
	if err := b.findProgram(true); err == nil {
		t.Error("no error for a program that is not there")
	}
	beside := filepath.Join(dir, "conntrack-guardian")
	if err := os.WriteFile(beside, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.findProgram(false); err != nil || b.program != beside {
		t.Errorf("%q, %v, want %q", b.program, err, beside)
	}
	if c := b.programContender(); c.Missing != "" || c.args[0] != beside {
		t.Errorf("%+v, want %q", c, beside)
	}
}

// An answer that is wrong in any way fails.
func TestBenchChecks(t *testing.T) {
	hog, other := netip.MustParseAddr("10.128.0.0"), netip.MustParseAddr("10.128.0.1")
	want := benchAnswer{Entries: 50_000, Source: hog, Count: 5000}
	for _, tc := range []struct {
		what  string
		check func(got, want benchAnswer) error
		got   benchAnswer
		ok    bool
	}{
		{"whole dump", checkFloor, benchAnswer{Bytes: 10_000_000}, true},
		{"part of a dump", checkFloor, benchAnswer{Bytes: 4_000_000}, false},
		{"all", checkAll, want, true},
		{"one less", checkAll, benchAnswer{Entries: 49_999, Source: hog, Count: 5000}, false},
		{"another source", checkAll, benchAnswer{Entries: 50_000, Source: other, Count: 5000}, false},
		{"a wrong count", checkSource, benchAnswer{Source: hog, Count: 4999}, false},
		{"only the source", checkSource, benchAnswer{Source: hog, Count: 5000}, true},
		{"a sample", checkSample, benchAnswer{Entries: 20_000, Source: hog, Count: 5200}, true},
		{"a sample far off", checkSample, benchAnswer{Entries: 20_000, Source: hog, Count: 3900}, false},
		{"a sample of another source", checkSample, benchAnswer{Entries: 20_000, Source: other, Count: 5000}, false},
		{"too small a sample", checkSample, benchAnswer{Entries: 19_999, Source: hog, Count: 5000}, false},
	} {
		if err := tc.check(tc.got, want); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.what, err)
		}
	}
}

func TestBenchReadAnswers(t *testing.T) {
	hog := netip.MustParseAddr("10.128.0.0")
	report := census.Report{Read: 9, Sources: []census.Source{
		{Prefix: netip.PrefixFrom(hog, 32), Figure: census.Figure{Entries: 5}},
		{Prefix: netip.MustParsePrefix("10.128.0.1/32"), Figure: census.Figure{Entries: 4}},
	}}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readProgram(text); err != nil || got != (benchAnswer{Entries: 9, Source: hog, Count: 5}) {
		t.Errorf("%+v, %v, want 5 of 9 from %s", got, err, hog)
	}
	if got, err := readPipeline([]byte("      5 10.128.0.0\n      4 10.128.0.1\n")); err != nil || got != (benchAnswer{Source: hog, Count: 5}) {
		t.Errorf("%+v, %v, want 5 from %s", got, err, hog)
	}
	for _, bad := range []string{"", "5", "five 10.128.0.0", "5 src=10.128.0.0"} {
		if got, err := readPipeline([]byte(bad)); err == nil {
			t.Errorf("%+v read from %q", got, bad)
		}
	}
	if got, err := readProgram([]byte("{}")); err == nil {
		t.Errorf("%+v read from an empty census", got)
	}
}

// All of it once, on a small table. The test program plays the contenders; where
// no program is found, the pipeline is missing, and so is conntrack-guardian.
func TestRootBenchCensus(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := benchOnce(t, "--json")
	if len(r.Sizes) != 1 || r.Sizes[0].Entries != 2000 || r.Rounds != 1 {
		t.Fatalf("%+v, want one size of 2000", r)
	}
	for _, row := range r.Sizes[0].Rows {
		missing := row.Name == theProgram || row.Name == thePipeline
		if missing != (row.Missing != "") || missing != (len(row.Runs) == 0) {
			t.Errorf("%+v: missing, want %v", row, missing)
		}
		if !missing && (row.CPU <= 0 || row.Wall < row.CPU/16 || row.RSS < 1<<20) {
			t.Errorf("%+v: it can't have taken so little", row)
		}
	}
	if len(r.Sizes[0].Rows) != 6 || len(r.Targets) != 3 {
		t.Errorf("%d contenders, %d targets, want 6 and 3", len(r.Sizes[0].Rows), len(r.Targets))
	}
	nothingLeft(t, os.Getpid())
}

// A contender that fails ends the benchmark with its own words, and everything is
// put back.
func TestRootBenchCensusFails(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if got := benchCensus(t, &bench{self: "/bin/false"}, &stdout, &stderr); got != program.Failed {
		t.Errorf("exit %d, want %d", got, program.Failed)
	}
	if !strings.Contains(stderr.String(), "receive and discard, the floor: exit code 1") {
		t.Errorf("%s, want who failed and how", &stderr)
	}
	nothingLeft(t, os.Getpid())
}

func benchOnce(t *testing.T, args ...string) (r benchResult) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := benchCensus(t, &bench{self: standIn(t, "guardian-lab")}, &stdout, &stderr, args...); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	if !strings.Contains(stderr.String(), "2,000 entries: filling the table\n") {
		t.Errorf("%q: no progress", &stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v from %s", err, &stdout)
	}
	return r
}

func benchCensus(t *testing.T, b *bench, stdout, stderr *bytes.Buffer, args ...string) int {
	t.Helper()
	root := program.Root("guardian-lab", "")
	root.AddCommand(benchCensusCommand(b))
	args = append([]string{"census", "--sizes", "2000", "--rounds", "1"}, args...)
	return program.Execute(t.Context(), root, args, stdout, stderr)
}
