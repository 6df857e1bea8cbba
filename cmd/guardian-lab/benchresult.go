package main

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const megabyte = 1_000_000

// A benchResult is what `bench census` found.
type benchResult struct {
	Kernel  string        `json:"kernel"`
	CPUs    int           `json:"cpus"`
	Rounds  int           `json:"rounds"`
	Sizes   []benchSize   `json:"sizes"`
	Targets []benchTarget `json:"targets"`

	limits []benchLimit
}

// A benchLimit is a target before it is measured.
type benchLimit struct {
	what, of string // of the contender so named
	limit    float64
	value    func(benchRow) float64
}

// A benchSize is what it found at one size of the table.
type benchSize struct {
	Entries int        `json:"entries"`
	Rows    []benchRow `json:"contenders"`
}

// A benchRow is a contender and what it took.
type benchRow struct {
	contender
	CPU   float64      `json:"cpu"`   // seconds, median
	Ratio float64      `json:"ratio"` // of CPU to the floor's in the same round, median
	Wall  float64      `json:"wall"`  // seconds, median
	Slow  float64      `json:"slow"`  // ratio of Wall to the floor's in the same round, median
	RSS   int64        `json:"rss"`   // bytes, greatest
	Runs  []benchUsage `json:"runs"`  // by round, empty if it is missing
}

// A benchTarget is what the worst of all sizes should not be above.
type benchTarget struct {
	What  string  `json:"what"`
	Limit float64 `json:"limit"`
	Worst float64 `json:"worst"`
	At    int     `json:"at"` // entries
	Met   bool    `json:"met"`
}

func newBenchResult(rounds int, limits []benchLimit) benchResult {
	return benchResult{Kernel: kernelVersion(), CPUs: runtime.NumCPU(), Rounds: rounds, limits: limits}
}

// kernelVersion is the running kernel's, "6.18": what follows is a distribution's
// or a builder's own.
func kernelVersion() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		panic("guardian-lab: uname: " + err.Error()) // fails for no valid argument
	}
	return regexp.MustCompile(`^\d+\.\d+`).FindString(unix.ByteSliceToString(name.Release[:]))
}

// summarize works out the figures of a row whose runs are complete.
func (r *benchRow) summarize(floor []benchUsage) {
	var cpu, ratio, wall, slow []float64
	for round, u := range r.Runs {
		cpu, wall = append(cpu, u.CPU), append(wall, u.Wall)
		ratio, slow = append(ratio, u.CPU/floor[round].CPU), append(slow, u.Wall/floor[round].Wall)
		r.RSS = max(r.RSS, u.RSS)
	}
	r.CPU, r.Ratio, r.Wall, r.Slow = median(cpu), median(ratio), median(wall), median(slow)
}

// median is 0 of nothing.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
}

// censusLimits are what the census shall not cost.
var censusLimits = []benchLimit{
	{"full census: CPU time, × floor", theFull, 1.15, func(row benchRow) float64 { return row.Ratio }},
	{"full census: peak RSS, MB", theFull, 12, megabytes},
	{"conntrack-guardian top --full: peak RSS, MB", theProgram, 12, megabytes},
	{"sample: wall time, s", theSample, 0.1, func(row benchRow) float64 { return row.Wall }},
}

// judge compares the worst of all sizes with the limits.
func (r *benchResult) judge() {
	for _, t := range r.limits {
		target := benchTarget{What: t.what, Limit: t.limit}
		for _, size := range r.Sizes {
			for _, row := range size.Rows {
				if row.Name == t.of && t.value(row) > target.Worst {
					target.Worst, target.At = t.value(row), size.Entries
				}
			}
		}
		if target.At > 0 { // else it is missing
			target.Met = target.Worst <= target.Limit
			r.Targets = append(r.Targets, target)
		}
	}
}

func megabytes(row benchRow) float64 { return float64(row.RSS) / megabyte }

// write prints Markdown.
func (r *benchResult) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d CPUs, Linux %s, medians of %d\n\n", r.CPUs, r.Kernel, r.Rounds)
	b.WriteString("| entries | read by | CPU s | × floor | wall s | peak RSS MB |\n|--:|---|--:|--:|--:|--:|\n")
	for _, size := range r.Sizes {
		entries := policy.Number(size.Entries)
		for _, row := range size.Rows {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", entries, strings.ReplaceAll(row.What, "|", `\|`), row.figures())
			entries = ""
		}
	}
	b.WriteString("\n| target | at most | worst | |\n|---|--:|--:|---|\n")
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "| %s | %g | %.2f at %s | %s |\n", t.What, t.Limit, t.Worst, policy.Number(t.At), t.verdict())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// figures are the cells of a row.
func (r benchRow) figures() string {
	if r.Missing != "" {
		return r.Missing + " | | |"
	}
	return fmt.Sprintf("%.3f | %.2f | %.3f | %.1f", r.CPU, r.Ratio, r.Wall, megabytes(r))
}

func (t benchTarget) verdict() string {
	if t.Met {
		return "met"
	}
	return "missed"
}
