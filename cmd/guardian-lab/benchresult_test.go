package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}, {[]float64{5, 1, 4, 2}, 3}} {
		if got := median(tc.of); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.of, got, tc.want)
		}
	}
}

// The ratio is the median of that of each round, not that of the medians.
func TestSummarize(t *testing.T) {
	floor := []benchUsage{{CPU: 1, Wall: 2}, {CPU: 2, Wall: 6}, {CPU: 4, Wall: 1}}
	row := benchRow{Runs: []benchUsage{{CPU: 1.1, Wall: 5, RSS: 7}, {CPU: 2.4, Wall: 3, RSS: 9}, {CPU: 6, Wall: 4, RSS: 8}}}
	row.summarize(floor)
	if row.CPU != 2.4 || row.Ratio != 1.2 || row.Wall != 4 || row.Slow != 2.5 || row.RSS != 9 {
		t.Errorf("%+v, want CPU 2.4, ratio 1.2, wall 4, slow 2.5, RSS 9", row)
	}
	missing := benchRow{Runs: []benchUsage{}}
	missing.summarize(floor)
	if missing.CPU != 0 || missing.Ratio != 0 {
		t.Errorf("%+v, want nothing of what is missing", missing)
	}
}

// example is a result with everything that can be printed.
func example() benchResult {
	row := func(name, what string, cpu, ratio, wall float64, rss int64) benchRow {
		return benchRow{
			contender: contender{Name: name, What: what}, CPU: cpu, Ratio: ratio, Wall: wall, RSS: rss,
			Runs: []benchUsage{{cpu, wall, rss}},
		}
	}
	missing := contender{Name: thePipeline, What: "`conntrack | sort`", Missing: "not installed: apt install conntrack"}
	r := benchResult{Kernel: "6.18", CPUs: 2, Rounds: 1, limits: censusLimits, Sizes: []benchSize{
		{65_536, []benchRow{
			row(theFloor, "the floor", 0.2, 1, 0.21, 6_000_000),
			row(theFull, "full", 0.22, 1.1, 0.23, 11_900_000),
			row(theSample, "sample", 0.05, 0.25, 0.11, 9_000_000),
			{contender: missing, Runs: []benchUsage{}},
		}},
		{1 << 20, []benchRow{
			row(theFloor, "the floor", 2, 1, 2.1, 6_000_000),
			row(theFull, "full", 2.4, 1.2, 2.5, 11_000_000),
			row(theSample, "sample", 0.05, 0.025, 0.06, 9_000_000),
		}},
	}}
	r.judge()
	return r
}

func TestBenchMarkdown(t *testing.T) {
	want := "2 CPUs, Linux 6.18, medians of 1\n" + `
| entries | read by | CPU s | × floor | wall s | peak RSS MB |
|--:|---|--:|--:|--:|--:|
| 65,536 | the floor | 0.200 | 1.00 | 0.210 | 6.0 |
|  | full | 0.220 | 1.10 | 0.230 | 11.9 |
|  | sample | 0.050 | 0.25 | 0.110 | 9.0 |
` + "|  | `conntrack \\| sort` | not installed: apt install conntrack | | | |\n" + `| 1,048,576 | the floor | 2.000 | 1.00 | 2.100 | 6.0 |
|  | full | 2.400 | 1.20 | 2.500 | 11.0 |
|  | sample | 0.050 | 0.03 | 0.060 | 9.0 |

| target | at most | worst | |
|---|--:|--:|---|
| full census: CPU time, × floor | 1.15 | 1.20 at 1,048,576 | missed |
| full census: peak RSS, MB | 12 | 11.90 at 65,536 | met |
| sample: wall time, s | 0.1 | 0.11 at 65,536 | missed |
`
	var out bytes.Buffer
	r := example()
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	// A table whose rows differ in length is none.
	for line := range strings.Lines(out.String()) {
		if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); n != 0 && n != 7 && n != 5 {
			t.Errorf("%d bars in %q", n, line)
		}
	}
}

func TestBenchJSON(t *testing.T) {
	text, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"kernel":"6.18","cpus":2,"rounds":1,"sizes":[{"entries":65536,"contenders":[{"name":"floor","what":"the floor","missing":"","cpu":0.2,"ratio":1,"wall":0.21,"slow":0,"rss":6000000,"runs":[{"cpu":0.2,"wall":0.21,"rss":6000000}]}`,
		`"missing":"not installed: apt install conntrack","cpu":0,"ratio":0,"wall":0,"slow":0,"rss":0,"runs":[]}`,
		`"targets":[{"what":"full census: CPU time, × floor","limit":1.15,"worst":1.2,"at":1048576,"met":false}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	got := kernelVersion()
	if !strings.HasPrefix(string(text), got+".") || strings.Count(got, ".") != 1 {
		t.Errorf("%q of %q", got, text)
	}
}
