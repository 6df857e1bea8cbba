package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

func TestBenchLeasesUsage(t *testing.T) {
	for _, args := range []string{
		"leases --sources 1", "leases --sources 65537", "leases --rounds 0", "leases --rate -1", "leases --rate many",
		"leases --for 999ms", "leases now",
	} {
		var stdout, stderr bytes.Buffer
		if got := execute(strings.Fields("bench "+args), &stdout, &stderr); got != program.Misused || stderr.Len() == 0 {
			t.Errorf("%s: exit %d, %q, want %d and why", args, got, &stderr, program.Misused)
		}
	}
}

// The limited source is the one that floods, and all leases are of different ones.
func TestLeaseRows(t *testing.T) {
	rows := (&leaseBench{sources: 300}).rows()
	want := map[string]struct {
		leases           int
		offends, limited bool
	}{
		noLeases: {}, oneLease: {leases: 1}, manyLeases: {leases: 300}, limitedOne: {300, true, true}, unlimitedIt: {offends: true},
	}
	if len(rows) != len(want) || rows[0].Name != noLeases {
		t.Fatalf("%+v, want the condition without leases and %d others", rows, len(want)-1)
	}
	for _, row := range rows {
		w := want[row.Name]
		if row.Leases != w.leases || row.offends != w.offends || isLeased(row.leases) != w.limited {
			t.Errorf("%s: %d leases, floods %v, limited %v, want %+v", row.Name, row.Leases, row.offends, isLeased(row.leases), w)
		}
		sources := map[netip.Prefix]bool{}
		for _, r := range row.leases {
			sources[r.Source] = true
		}
		if len(sources) != row.Leases {
			t.Errorf("%s: %d sources have %d leases", row.Name, len(sources), row.Leases)
		}
	}
	flood := lab.Flood{Pattern: lab.UDP, From: offender.Addr()}
	if err := flood.Check(); err != nil || flood.Source(0) != offender {
		t.Errorf("the offender is %s, %v, want %s", flood.Source(0), err, offender)
	}
}

// leaseSample is two rounds under a flood of a rate.
func leaseSample(rate int) leaseRate {
	rows := (&leaseBench{sources: 5000}).rows()
	for i, forwarded := range [][2]float64{{100, 98}, {97, 99}, {80, 96}, {70, 90}, {60, 50}} {
		for round, f := range forwarded {
			rows[i].Runs = append(rows[i].Runs, leaseRun{
				forwarding: forwarding{Offered: f, Forwarded: f, Clients: lab.Tally{Attempted: 7, Failed: i * round}},
				Offended:   int64(1000 * i), Refused: uint64(900 * i), Renewals: round, Renewal: 0.25,
			})
		}
		rows[i].summarize()
	}
	return leaseRate{rate, rows}
}

func leaseResultSample() leaseResult {
	return leaseResult{
		Kernel: "6.18", CPUs: 2, Rounds: 2, For: 1, Sources: 5000,
		Costs: []leaseCost{{Name: theInstall, What: "put all in force", Wall: 1, CPU: 9}, {Name: theRenewal, What: "renew all", Wall: 0.02, CPU: 0.025}},
		Rates: []leaseRate{leaseSample(100), leaseSample(0)},
	}
}

func TestLeaseTargets(t *testing.T) {
	r := leaseResultSample()
	r.judge()
	want := [][]string{
		{"target", "at most", "got", ""},
		{"renewals, % of a CPU", "1.00", "0.50", "met"},
		{"100 flows/s, 1 lease: forwards less, %", "2.02", "1.01", "met"},
		{"100 flows/s, 5,000 leases: forwards less, %", "2.02", "11.11", "missed"},
		{"100 flows/s, 5,000 leases, a limited source floods: failed connections", "0.00", "3.00", "missed"},
	}
	if diff := cmp.Diff(want, r.targets()); diff != "" {
		t.Error(diff)
	}
	one := leaseResultSample()
	one.Rounds = 1
	if one.judge(); len(one.Targets) != 2 {
		t.Errorf("%+v: one round has no noise to compare with", one.Targets)
	}
}

func TestLeaseTables(t *testing.T) {
	r := leaseResultSample()
	r.judge()
	var b strings.Builder
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 CPUs, Linux 6.18, 5,000 leases, 2 rounds, of 1 s",
		"| put all in force | 1000.00 | 9000.00 |",
		"| 5,000 leases                          |          88 |          80–96 |    11.11 |",
		"5,400 |        1 |   250.0 |", // refused, renewals, ms each
		"| missed |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// A turn in which the limit did not do its work is not measured as one that did.
func TestRootLeaseTurnChecks(t *testing.T) {
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	other := lab.Flood{Pattern: lab.UDP, Count: 300, From: netip.MustParseAddr("10.78.0.9")}
	of := []nft.Request{leasesOf(1)[0], leaseOf(offender), leaseOf(other.Source(0))}
	for what, tc := range map[string]struct {
		offended int64
		spoil    func(*leaseHold) error
		ok       bool
	}{
		"as it should be":    {0, func(*leaseHold) error { return nil }, true},
		"refused too little": {2, func(*leaseHold) error { return nil }, false},
		"a lease is missing": {0, func(h *leaseHold) error { return h.End(of[0].Lease) }, false},
		"another is refused": {0, func(*leaseHold) error {
			_, err := g.Flood(t.Context(), other)
			return err
		}, false},
	} {
		h, err := holdLeases(t.Context(), g, of)
		if err != nil {
			t.Fatal(err)
		}
		r := leaseRun{Offended: tc.offended}
		if err := errors.Join(tc.spoil(h), r.take(h)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", what, err)
		}
		if err := h.letGo(); err != nil {
			t.Error(err)
		}
	}
}

// All of it once, under a small flood.
func TestRootBenchLeases(t *testing.T) {
	b := newLeaseBench()
	b.sizes = lab.Sizes{Max: 1 << 18, Buckets: 1 << 18} // as they are
	b.fill, b.settle = 300*time.Millisecond, 300*time.Millisecond
	root := program.Root("guardian-lab", "")
	root.AddCommand(benchLeasesCommand(b))
	var stdout, stderr bytes.Buffer
	args := strings.Fields("leases --json --rounds 1 --for 1s --rate 2000 --sources 200")
	if got := program.Execute(t.Context(), root, args, &stdout, &stderr); got != program.Done {
		t.Fatalf("exit %d: %s", got, &stderr)
	}
	var r leaseResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v from %s", err, &stdout)
	}
	for _, c := range r.Costs {
		want := 1
		if c.Name == theRenewal {
			want = renewals
		}
		if len(c.Runs) != want || c.Wall <= 0 {
			t.Errorf("%s: %+v, want %d runs", c.Name, c, want)
		}
	}
	if len(r.Costs) != 5 || len(r.Rates) != 1 || len(r.Rates[0].Rows) != 5 || len(r.Targets) != 2 {
		t.Fatalf("%+v, want five steps, and five conditions under one flood", r)
	}
	for _, row := range r.Rates[0].Rows {
		if len(row.Runs) != 1 {
			t.Fatalf("%s: %d runs, want 1", row.Name, len(row.Runs))
		}
		run := row.Runs[0]
		if run.Forwarded < 500 || run.Clients.Attempted < 100 || run.Handshake.Median <= 0 {
			t.Errorf("%s: %+v, want traffic", row.Name, run)
		}
		offends := row.Name == limitedOne || row.Name == unlimitedIt
		if offends != (run.Offended > 0) || (row.Name == limitedOne) != (run.Refused > 0) {
			t.Errorf("%s: %d flows of the offender, %d refused", row.Name, run.Offended, run.Refused)
		}
	}
	nothingLeft(t, os.Getpid())
}

// Leases are in force beyond their time while they are held.
func TestRootLeasesAreRenewed(t *testing.T) {
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := holdLeases(t.Context(), g, leasesOf(3))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(leaseRenewed + time.Second)
	held, err := h.Read()
	if err != nil || len(held) != 3 || held[0].Left < leaseFor-2*time.Second {
		t.Errorf("%+v, %v, want three leases renewed a second ago", held, err)
	}
	if _, err := h.settle(); err != nil || len(h.took) != 1 {
		t.Errorf("%d renewals, %v, want one", len(h.took), err)
	}
	if err := h.letGo(); err != nil {
		t.Error(err)
	}
	left, err := openLeases(g)
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	if held, err := left.Read(); err != nil || len(held) != 0 {
		t.Errorf("%+v, %v, want none after they were let go", held, err)
	}
}
