package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestBenchForwardingUsage(t *testing.T) {
	for _, args := range []string{
		"forwarding --rounds 0", "forwarding --rate -1", "forwarding --rate 50000,many", "forwarding --for 999ms",
		"forwarding now", "guard", "guard nonsense",
	} {
		var stdout, stderr bytes.Buffer
		if got := execute(strings.Fields("bench "+args), &stdout, &stderr); got != program.Misused || stderr.Len() == 0 {
			t.Errorf("%s: exit %d, %q, want %d and why", args, got, &stderr, program.Misused)
		}
	}
}

func TestIdle(t *testing.T) {
	before, err := parseCPUTime("cpu  10 1 20 300 4 5 6 7 8 9")
	if want := (cpuTime{304, 353}); err != nil || before != want {
		t.Errorf("%+v, %v, want %+v", before, err, want)
	}
	now := cpuTime{before.idle + 30, before.all + 120}
	if got := now.idleSince(before); got != 0.25 {
		t.Errorf("%v, want a quarter", got)
	}
	if got := before.idleSince(before); got != 0 {
		t.Errorf("%v of no time", got)
	}
	for _, bad := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7", "cpu 1 2 3 x 5 6 7 8"} {
		if got, err := parseCPUTime(bad); err == nil {
			t.Errorf("%+v from %q", got, bad)
		}
	}
}

// What counts is a tick that was due or came within the time, however late.
func TestTicksLate(t *testing.T) {
	const ms = time.Millisecond
	r := watchReport{Ticks: []tickMark{
		{At: 0, Pause: 100 * ms},
		{At: 101 * ms, Pause: 100 * ms}, // before the time
		{At: 205 * ms, Pause: 50 * ms},  // 4 late
		{At: 254 * ms, Pause: 100 * ms}, // the clock's grain: not late
		{At: 654 * ms, Pause: 100 * ms}, // 300 late: it stood still over the end
		{At: 755 * ms},                  // due after it
	}}
	got := r.ticks(150*ms, 400*ms)
	if want := (spread{0.004, 0.3, 0.3}); got.Count != 3 || got.spread != want {
		t.Errorf("%+v, want three, %+v", got, want)
	}
	if got := r.ticks(800*ms, 900*ms); got.Count != 0 {
		t.Errorf("%+v after the last, want none", got)
	}
}

func TestWatchCPU(t *testing.T) {
	r := watchReport{Ticks: []tickMark{
		{At: 1 * time.Second, CPU: 5 * time.Second},
		{At: 2 * time.Second, CPU: 6 * time.Second},
		{At: 4 * time.Second, CPU: 7 * time.Second},
		{At: 5 * time.Second, CPU: 70 * time.Second},
	}}
	if got := r.cpu(2*time.Second, 4*time.Second); got != 0.5 {
		t.Errorf("%v of a CPU, want half", got)
	}
	if got := r.cpu(2*time.Second, 3*time.Second); got != 0 {
		t.Errorf("%v of a CPU from one tick, want 0", got)
	}
}

func TestSpread(t *testing.T) {
	var samples []time.Duration
	for i := range 1000 {
		samples = append(samples, time.Duration(999-i)*time.Second)
	}
	if got, want := spreadOf(samples), (spread{500, 990, 999}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := spreadOf(nil); got != (spread{}) {
		t.Errorf("%+v of nothing", got)
	}
}

// Each condition has the policy that makes it one: trouble with a nearly empty
// table, hence a census whenever it may be.
func TestGuardedPolicy(t *testing.T) {
	for _, condition := range conditions {
		c := guardedPolicy(condition)
		s := policy.Snapshot{Wall: time.Now(), Count: 5000, Max: 1 << 22, Buckets: 1 << 20, MemAvailable: 1 << 34}
		st, _ := policy.Decide(policy.State{}, s, c, time.Hour-time.Second)
		st, _ = policy.Decide(st, s, c, time.Hour)
		if !st.WantsCensus(&c, time.Hour-time.Second, time.Hour) {
			t.Errorf("%s: no census is wanted", condition)
		}
		if p := policy.Pause(&s, &c); p != 100*time.Millisecond {
			t.Errorf("%s: a pause of %s, want the shortest", condition, p)
		}
		full := condition == fullCensuses
		if (c.Census.Sample == 0) != full || c.Counts() == full || c.Census.CPU != 0.5 {
			t.Errorf("%s: %+v", condition, c.Census)
		}
	}
}

// scoutFunc is a scout that does as told.
type scoutFunc func() (sense.Sight, error)

func (f scoutFunc) Look(context.Context, policy.Config) (sense.Sight, error) { return f() }

func (scoutFunc) Inspect(context.Context, policy.Config) ([]policy.FlowSight, error) { return nil, nil }

func (scoutFunc) Rest() error { return nil }

// A census that fails is not measured as one that costs nothing.
func TestWatchedScout(t *testing.T) {
	bad := errors.New("no")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for what, tc := range map[string]struct {
		ctx   context.Context
		sight sense.Sight
		err   error
		looks int
		want  error
	}{
		"done":        {t.Context(), sense.Sight{Counting: true}, nil, 1, nil},
		"failed":      {t.Context(), sense.Sight{}, bad, 0, bad},
		"not counted": {t.Context(), sense.Sight{Uncounted: bad}, nil, 0, bad},
		"called off":  {over, sense.Sight{}, bad, 0, nil},
	} {
		w := watchedScout{Scout: scoutFunc(func() (sense.Sight, error) { return tc.sight, tc.err })}
		if _, err := w.Look(tc.ctx, policy.Default()); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, want %v", what, err, tc.err)
		}
		if len(w.marks) != tc.looks || !errors.Is(w.err, tc.want) {
			t.Errorf("%s: %d censuses, %v, want %d, %v", what, len(w.marks), w.err, tc.looks, tc.want)
		}
	}
}

// forwardSample are three conditions under a flood, two rounds each.
func forwardSample(rate int) forwardRate {
	rows := forwardRows()
	for i, forwarded := range [][2]float64{{100, 98}, {97, 99}, {80, 96}} {
		for round, f := range forwarded {
			rows[i].Runs = append(rows[i].Runs, forwardRun{
				forwarding: forwarding{Offered: f, Forwarded: f, Lost: int64(i)}, Ticks: newTickReport([]time.Duration{time.Duration(i*round) * 60 * time.Millisecond}),
			})
		}
		rows[i].summarize()
	}
	return forwardRate{rate, rows}
}

func TestForwardTargets(t *testing.T) {
	r := forwardResult{Rounds: 2, For: 1, Rates: []forwardRate{forwardSample(100), forwardSample(0)}}
	r.judge()
	var got []string
	for _, target := range r.Targets {
		got = append(got, strings.Join(target.cells(), "|"))
	}
	want := []string{
		"100|sample|forwards less, %|2.02|1.01|met",
		"100|sample|a tick comes late, ms|100.00|60.00|met",
		"100|full|forwards less, %|2.02|11.11|missed",
		"100|full|a tick comes late, ms|100.00|120.00|missed",
		"all|sample|a tick comes late, ms|100.00|60.00|met",
		"all|full|a tick comes late, ms|100.00|120.00|missed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	none := forwardSample(100).Rows[0]
	if got := none.allowed(0.05); got != 4 {
		t.Errorf("%v %% allowed, want the 4 that 2 ms are of 50", got)
	}
	one := forwardResult{Rounds: 1, For: 1, Rates: []forwardRate{forwardSample(100)}}
	if one.judge(); len(one.Targets) != 2 {
		t.Errorf("%+v: one round has no noise to compare with", one.Targets)
	}
}

func TestForwardTable(t *testing.T) {
	var b strings.Builder
	writeTable(&b, [][]string{{"n", "what"}, {"1,000", "fürs erste"}, {"2", ""}})
	want := "\n" +
		"|     n | what       |\n" +
		"| ----: | ---------- |\n" +
		"| 1,000 | fürs erste |\n" +
		"|     2 |            |\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	b.Reset()
	r := forwardResult{Kernel: "6.18", CPUs: 2, Rounds: 2, For: 1, Rates: []forwardRate{forwardSample(100)}}
	r.judge()
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 CPUs, Linux 6.18, 2 rounds of 1 s", "no census ", "80–96", " 11.11 |", "| missed |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// A guard ends with its standard input, so that none outlives the benchmark.
func TestRootBenchGuardEnds(t *testing.T) {
	w, err := startWatch(standIn(t, "guardian-lab"), "", noCensus)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	r, err := w.stop()
	if err != nil || len(r.Ticks) < 2 || len(r.Looks) != 0 {
		t.Errorf("%+v, %v, want ticks and no census", r, err)
	}
	if err := w.kill(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, os.Getpid())
}

// All of it once, under a small flood.
func TestRootBenchForwarding(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if got := benchForwarding(t, standIn(t, "guardian-lab"), &stdout, &stderr); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	var r forwardResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v from %s", err, &stdout)
	}
	if len(r.Rates) != 1 || len(r.Rates[0].Rows) != 3 || len(r.Targets) != 2 {
		t.Fatalf("%+v, want three conditions under one flood", r)
	}
	for _, row := range r.Rates[0].Rows {
		if len(row.Runs) != 1 {
			t.Fatalf("%s: %d runs, want 1", row.Name, len(row.Runs))
		}
		run := row.Runs[0]
		if run.Forwarded < 1000 || run.Offered > 5100 || run.Entries < 500 || run.Clients.Attempted < 200 || run.Handshake.Median <= 0 {
			t.Errorf("%s: %+v, want traffic", row.Name, run)
		}
		if run.Ticks.Count < 5 || run.Ticks.Count > 25 || run.CPU <= 0 || run.CPU > 1.5 || run.Idle < 0 || run.Idle > 1 {
			t.Errorf("%s: %+v, want ten ticks a second", row.Name, run)
		}
		if none := row.Name == noCensus; none != (run.Censuses == 0) {
			t.Errorf("%s: %d censuses", row.Name, run.Censuses)
		}
	}
	if !strings.Contains(stderr.String(), "5,000 new flows a second: filling the table\n") {
		t.Errorf("%q: no progress", &stderr)
	}
	nothingLeft(t, os.Getpid())
}

// A guard that fails ends the benchmark with its own words, and everything is put
// back.
func TestRootBenchForwardingFails(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if got := benchForwarding(t, "/bin/false", &stdout, &stderr); got != program.Failed {
		t.Errorf("exit %d, want %d", got, program.Failed)
	}
	if !strings.Contains(stderr.String(), "no census: the guard failed: exit status 1") {
		t.Errorf("%s, want who failed and how", &stderr)
	}
	nothingLeft(t, os.Getpid())
}

// benchForwarding runs it without a change to the machine's values.
func benchForwarding(t *testing.T, self string, stdout, stderr *bytes.Buffer) int {
	t.Helper()
	b := newForwardBench()
	b.self, b.sizes = self, lab.Sizes{Max: 1 << 18, Buckets: 1 << 18}
	b.fill, b.settle = 300*time.Millisecond, 300*time.Millisecond
	root := program.Root("guardian-lab", "")
	root.AddCommand(benchForwardingCommand(b))
	args := strings.Fields("forwarding --json --rounds 1 --for 2s --rate 5000")
	return program.Execute(t.Context(), root, args, stdout, stderr)
}
