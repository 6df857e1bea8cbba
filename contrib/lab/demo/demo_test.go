package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// TestMain makes the test program play other programs under their names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "ready":
		playReady()
	case "stubborn":
		playStubborn()
	case "lab":
		playLab()
	}
	os.Exit(m.Run())
}

func TestDefaultIsInOrder(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no max":          func(c *Config) { c.Max = 0 },
		"max beyond":      func(c *Config) { c.Max = 2 << 20 },
		"no rate":         func(c *Config) { c.Rate = 0 },
		"flood too long":  func(c *Config) { c.Rate = 1024 },
		"no clients":      func(c *Config) { c.TCP = 0 },
		"negative UDP":    func(c *Config) { c.UDP = -1 },
		"negative quiet":  func(c *Config) { c.Before = -time.Second },
		"top without end": func(c *Config) { c.Top = time.Hour },
	} {
		c := Default()
		change(&c)
		if c.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The policy file that the guardian is given says what it should.
func TestPolicy(t *testing.T) {
	f, problems := config.Parse("policy.toml", []byte(Default().policy("/run/netns/x")))
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	if f.Namespace != "/run/netns/x" || f.Policy.Mode != policy.Act || f.Policy.RaiseMax.Mode != policy.Act ||
		f.Policy.RaiseMax.Ceiling != 262_144 || f.Policy.GrowBuckets.Mode != policy.Off {
		t.Errorf("%+v", f)
	}
}

// The flood is over before its first entry expires.
func TestEstablishedOutlastsTheTop(t *testing.T) {
	c := Default()
	if got := time.Duration(c.established()) * time.Second; got < c.flood()+c.Top+time.Second || got > 30*time.Second {
		t.Errorf("timeout of %s for a flood of %s and %s at the top", got, c.flood(), c.Top)
	}
}

func TestMoves(t *testing.T) {
	s := []Sample{{At: 0, Max: 10}, {At: 1, Max: 10}, {At: 2, Max: 20}, {At: 3, Max: 10}, {At: 4, Max: 10}}
	want := []Move{{At: 2, From: 10, To: 20}, {At: 3, From: 20, To: 10}}
	if d := cmp.Diff(want, moves(s)); d != "" {
		t.Error(d)
	}
}

func TestPlot(t *testing.T) {
	var r Run
	for i, u := range []int{0, 1, 50, 100, 100, 120, 25, 25} {
		r.Samples = append(r.Samples, Sample{At: time.Duration(i) * time.Second / 2, Count: u, Max: 100})
	}
	r.Moves = []Move{{time.Second, 100, 1_000_000}, {3 * time.Second, 1_000_000, 100}}
	var b strings.Builder
	plot(&b, r, time.Second)
	// By column: 0 and 1 %, 50 and 100 %, 100 and more, 25 %.
	want := `  100 % │ ██
        │ ██
        │ ██
        │ ██
   50 % │ ██
        │ ██
        │ ███
        │▁███
    0 % └────
          ▲ ▼
         ▲ 1.0 s: nf_conntrack_max raised from 100 to 1,000,000
         ▼ 3.0 s: nf_conntrack_max lowered from 1,000,000 to 100
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 65_536: "65,536", 1_048_576: "1,048,576", -1234: "-1,234", -123: "-123"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, want %q", n, got, want)
		}
	}
}

// good is a result with nothing wrong.
func good() Result {
	lost := lab.ClientReport{TCP: lab.Tally{Attempted: 10, Failed: 3}}
	return Result{
		Max: 100, Unguarded: Run{Clients: lost},
		Guarded: Run{Moves: []Move{{1, 100, 200}, {2, 200, 100}}},
		Changes: []ledger.Change{{ID: 1, State: ledger.Undone}},
		Sizes:   &lab.Release{Found: lab.Sizes{Max: 100}},
	}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Result)
		want   string
	}{
		"well":              {func(*Result) {}, ""},
		"no trouble":        {func(r *Result) { r.Unguarded.Clients = lab.ClientReport{} }, "nothing was lost"},
		"TCP lost":          {func(r *Result) { r.Guarded.Clients.TCP.Failed = 1 }, "1 connections were lost"},
		"UDP lost":          {func(r *Result) { r.Guarded.Clients.UDP.Failed = 2 }, "2 connections were lost"},
		"never raised":      {func(r *Result) { r.Guarded.Moves = nil }, "never raised"},
		"not lowered":       {func(r *Result) { r.Sizes.Found.Max = 200 }, "left nf_conntrack_max at 200"},
		"no sizes":          {func(r *Result) { r.Sizes = nil }, "left nf_conntrack_max at 0"},
		"change in force":   {func(r *Result) { r.Changes[0].State = ledger.Applied }, "as applied"},
		"no account":        {func(r *Result) { r.Changes = nil }, "no account"},
		"something is left": {func(r *Result) { r.Left = []string{"/run/netns/x"} }, "left /run/netns/x"},
	} {
		r := good()
		tc.change(&r)
		r.judge()
		got := strings.Join(r.Problems, "; ")
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) || len(r.Problems) > 1 {
			t.Errorf("%s: problems %q, want one with %q", name, got, tc.want)
		}
	}
}

// What people read says the figures and the verdict.
func TestWrite(t *testing.T) {
	r := good()
	r.Sizes.Now = lab.Sizes{Max: 262_144, Buckets: 131_072}
	r.Changes[0].Edits = []ledger.Edit{{Key: "sysctl:net.k", Before: "100", After: "200"}}
	r.Changes[0].Reason, r.Changes[0].Outcome = "50 of 100 entries", "helped"
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"new connections attempted                      10          0",
		": helped\n    made:   k 100 → 200\n            50 of 100 entries\n    undone: ",
		"left nf_conntrack_max at 100.",
		"back as before: nf_conntrack_max 262,144, nf_conntrack_buckets\n131,072, nothing of the lab left.",
		"3 lost without the guardian, none with it.",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	b.Reset()
	r.Left, r.Problems = []string{"/run/netns/x"}, []string{"the lab left /run/netns/x"}
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, "back as before") || !strings.Contains(got, "FAILED: the lab left /run/netns/x") {
		t.Errorf("a failure reads\n%s", got)
	}
}
