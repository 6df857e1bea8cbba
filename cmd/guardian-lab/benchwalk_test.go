package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// playTool is conntrack -D as far as the benchmark knows it: it prints what it
// deletes, and says at last how many these were.
func playTool() {
	n, err := deleteSingly()
	for range n {
		fmt.Println("tcp      6 43199 TIME_WAIT src=10.128.0.1 dst=198.18.0.1 sport=1024 dport=443 [ASSURED] mark=0 use=1")
	}
	if err != nil || n == 0 {
		fmt.Fprintln(os.Stderr, "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "conntrack v1.4.7 (conntrack-tools): %d flow entries have been deleted.\n", n)
	os.Exit(0)
}

// Half of the table is to go, and has long been closed.
func TestWalkMix(t *testing.T) {
	const size = 65_537
	truth, err := lab.CountTruth(walkMix(size)...)
	if err != nil {
		t.Fatal(err)
	}
	if truth.Entries != size || truth.States[lab.TimeWait] != size/2 || truth.SNAT != size || len(truth.Sources) != benchSources {
		t.Errorf("%d entries, %d in TIME_WAIT, %d translated, %d sources", truth.Entries, truth.States[lab.TimeWait], truth.SNAT, len(truth.Sources))
	}
	class := truth.Classes["tcp_timeout_time_wait"]
	if len(class) != 1 || class[walkLeft*time.Second] != size/2 || walkNormal-walkLeft <= walkShort {
		t.Errorf("%v left of %d s, want all older than %d s", class, walkNormal, walkShort)
	}
}

func TestReadTool(t *testing.T) {
	says := "conntrack v1.4.7 (conntrack-tools): 524288 flow entries have been deleted.\n"
	if a, err := readTool([]byte(says)); err != nil || a.Deleted != 524_288 {
		t.Errorf("%+v, %v from %q", a, err, says)
	}
	for _, bad := range []string{"", "conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown."} {
		if a, err := readTool([]byte(bad)); err == nil {
			t.Errorf("%+v from %q", a, bad)
		}
	}
	if checkDeleted(benchAnswer{Deleted: 3}, benchAnswer{Deleted: 4}) == nil || checkDeleted(benchAnswer{Deleted: 4}, benchAnswer{Deleted: 4}) != nil {
		t.Error("a number that is wrong passes, or one that is right does not")
	}
}

func TestWalkMarkdown(t *testing.T) {
	r := walkResult{benchResult{Kernel: "6.18", CPUs: 2, Rounds: 1, limits: walkLimits}}
	rows := rowsOf(contender{Name: theFloor, What: "the floor"}, contender{Name: theWalk, What: "our walk"})
	rows[0].Runs = []benchUsage{{CPU: 2, Wall: 4, RSS: 1e6}}
	rows[1].Runs = []benchUsage{{CPU: 2.5, Wall: 6, RSS: 2e6}}
	if err := summarized(rows, 1000, nil); err != nil {
		t.Fatal(err)
	}
	r.Sizes = []benchSize{{1 << 20, rows}}
	r.judge()
	want := `2 CPUs, Linux 6.18, medians of 1

|   entries | half deleted by | CPU s | × floor | wall s | × floor | peak RSS MB |
| --------: | --------------- | ----: | ------: | -----: | ------: | ----------: |
| 1,048,576 | the floor       | 2.000 |    1.00 |  4.000 |    1.00 |         1.0 |
| 1,048,576 | our walk        | 2.500 |    1.25 |  6.000 |    1.50 |         2.0 |

| target                       | at most |  got |        |
| ---------------------------- | ------: | ---: | ------ |
| our walk: CPU time, × floor  |     1.3 | 1.25 | met    |
| our walk: wall time, × floor |     1.3 | 1.50 | missed |
`
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// All of it once, on a small table, with a stand-in for conntrack(8).
func TestRootBenchWalk(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(standIn(t, "conntrack")))
	var stdout, stderr bytes.Buffer
	if got := benchWalk(t.Context(), t, &stdout, &stderr, "--size", "4000", "--rounds", "2", "--json"); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	var r walkResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v from %s", err, &stdout)
	}
	if len(r.Sizes) != 1 || r.Sizes[0].Entries != 4000 || len(r.Targets) != 2 {
		t.Fatalf("%+v, want one size of 4000 and two targets", r)
	}
	var names []string
	for _, row := range r.Sizes[0].Rows {
		names = append(names, row.Name)
		if len(row.Runs) != 2 || row.CPU <= 0 || row.Wall < row.CPU/16 || row.Slow <= 0 || row.RSS < 1<<20 {
			t.Errorf("%+v: it can't have taken so little", row)
		}
	}
	if diff := cmp.Diff([]string{theFloor, theWalk, theSingles, theTool}, names); diff != "" {
		t.Error(diff)
	}
	nothingLeft(t, os.Getpid())
}

// Without conntrack(8) nothing is measured, and it is said what to install.
func TestRootBenchWalkNeedsConntrack(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var stdout, stderr bytes.Buffer
	if got := benchWalk(t.Context(), t, &stdout, &stderr); got != program.Failed || !strings.Contains(stderr.String(), "apt install conntrack") {
		t.Errorf("exit %d, %q, want %d and what to install", got, &stderr, program.Failed)
	}
	nothingLeft(t, os.Getpid())
}

// A signal ends it in the midst, and everything is put back.
func TestRootBenchWalkEndsWithItsContext(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(standIn(t, "conntrack")))
	ctx, cancel := context.WithCancel(t.Context())
	over := time.AfterFunc(3*time.Second, cancel)
	defer over.Stop()
	var stdout, stderr bytes.Buffer
	if got := benchWalk(ctx, t, &stdout, &stderr, "--size", "20000", "--rounds", "100000"); got != program.Failed || stdout.Len() > 0 {
		t.Errorf("exit %d, %q, want %d and no result", got, &stdout, program.Failed)
	}
	nothingLeft(t, os.Getpid())
}

func benchWalk(ctx context.Context, t *testing.T, stdout, stderr *bytes.Buffer, args ...string) int {
	t.Helper()
	root := program.Root("guardian-lab", "")
	root.AddCommand(benchWalkCommand(&walkBench{self: standIn(t, "guardian-lab")}))
	return program.Execute(ctx, root, append([]string{"walk"}, args...), stdout, stderr)
}
