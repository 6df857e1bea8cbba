package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A scene is a table as a planner finds it: one source holds most of it.
type scene struct {
	*testing.T
	config  policy.Config
	count   int
	dropped uint64    // packets between two readings
	rates   []float64 // of the source, by the census; the last one again and again
	failing int       // census that fails, the first is 1
	nat     string    // of the flow, when it is looked for
	seen    int       // entries of it
	allowed []policy.Allowed
	broken  error // of the allowlist and of the look at flows

	looks     []time.Duration
	inspected int
	listed    int
	begun     time.Time
}

func (s *scene) clock() time.Duration { return time.Hour + time.Since(s.begun) }

// Read is the sensor's.
func (s *scene) reading(to *policy.Snapshot) error {
	to.Wall, to.Count, to.Max, to.Buckets, to.MemAvailable = time.Now(), s.count, 65536, 65536, 1<<30
	to.Losses = policy.Counters{Drop: s.dropped}
	return nil
}

type sceneSensor struct{ *scene }

func (s sceneSensor) Read(to *policy.Snapshot) error { return s.reading(to) }

type sceneScout struct{ *scene }

func (s sceneScout) Look(_ context.Context, c policy.Config) (sense.Sight, error) {
	if c.Counts() {
		s.Error("new connections are counted")
	}
	s.looks = append(s.looks, s.clock())
	n := len(s.looks)
	if n == s.failing {
		return sense.Sight{}, errors.New("no luck")
	}
	k := policy.Census{At: s.clock(), Read: 20000, Table: s.count}
	k.Sources[0] = policy.Holder{
		Prefix: netip.MustParsePrefix("10.0.0.5/32"), Share: policy.Share{Share: 0.9, Low: 0.89, High: 0.91}, New: s.rates[min(n, len(s.rates))-1],
	}
	k.Sources[0].Steady = k.Sources[0].New
	return sense.Sight{Census: k}, nil
}

func (s sceneScout) Inspect(_ context.Context, c policy.Config) (found []policy.FlowSight, err error) {
	s.inspected++
	for _, f := range c.Bypass {
		if s.broken == nil {
			found = append(found, policy.FlowSight{Flow: f.Name, Mark: f.Mark(), At: s.clock(), Seen: s.seen, NAT: s.nat})
		}
	}
	return found, s.broken
}

func (s sceneScout) Rest() error {
	s.Error("something was put into the kernel")
	return nil
}

type sceneList struct{ *scene }

func (s sceneList) Read(context.Context, policy.Config) ([]policy.Allowed, error) {
	s.listed++
	return s.allowed, s.broken
}

// pressed is a scene in which sources may be limited and nothing else may be done.
func pressed(t *testing.T) *scene {
	c := policy.Default()
	c.Mode, c.RaiseMax.Mode, c.GrowBuckets.Mode, c.ShortenTimeouts.Mode = policy.Act, policy.Off, policy.Off, policy.Off
	return &scene{T: t, config: c, count: 60_000, rates: []float64{0, 3000}, seen: 500}
}

// plan is what is printed of it.
func (s *scene) plan() (p plan, text string) {
	s.Helper()
	s.begun = time.Now()
	planner := planner{sensor: sceneSensor{s}, scout: sceneScout{s}, allow: sceneList{s}, clock: s.clock, config: s.config}
	p, err := planner.make(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var out strings.Builder
	printPlan(&out, p)
	return p, out.String()
}

// Of one census it is not known how fast a source is; the second one, a second later,
// tells, and what it says counts. A third one tells whether it goes on, where that counts.
func TestPlanLimitsSource(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*scene)
		want   []string
		not    string
		looks  int
	}{
		"limited": {
			change: func(*scene) {}, looks: 2, not: "is not known",
			want: []string{
				"\ncensus 20,000 entries read, 2 times in 1s: connections/s are what entries became more\n",
				"\nsources by what they hold: 10.0.0.5 holds 90.0 ± 1.0 % of the table and steadily makes 3,000 connections/s: limit\n",
				"\nwould limit 10.0.0.5 to 50 new connections/s, 100 at once: ",
			},
		},
		"in a full table, of which one census tells too little": {
			change: func(s *scene) { s.count, s.dropped = 65_536, 100 }, looks: 2, not: "is not known",
			want: []string{"\nwould limit 10.0.0.5 to 50 new connections/s, 100 at once: "},
		},
		"in a full table that it holds twice": {
			change: func(s *scene) { s.count, s.dropped, s.rates = 65_536, 100, []float64{0} }, looks: 2, not: "is not known",
			want: []string{"\nwould limit 10.0.0.5 to 50 new connections/s, 100 at once: "},
		},
		"in a full table, and no more is told": {
			change: func(s *scene) { s.count, s.dropped, s.failing = 65_536, 100, 2 }, looks: 2, not: "would",
			want: []string{" source is limited: 10.0.0.5 holds 90.0 ± 1.0 % of the table, but how fast it makes connections is not known\n"},
		},
		"who goes on, though nothing presses": {
			change: func(s *scene) { s.count, s.rates = 56_000, []float64{0, 100} }, looks: 3, not: "is not known",
			want: []string{"\ncensus 20,000 entries read, 3 times in 2s: ", "\nwould limit 10.0.0.5 to 50 new connections/s, 100 at once: "},
		},
		"who does not": {
			change: func(s *scene) { s.count, s.rates = 56_000, []float64{0, 100, 0} }, looks: 3, not: "would",
			want: []string{"\ncensus 20,000 entries read, 3 times in 2s: "},
		},
		"who is slow": {
			change: func(s *scene) { s.count, s.rates = 56_000, []float64{0, 40} }, looks: 2, not: "would",
			want: []string{"\ncensus 20,000 entries read, 2 times in 1s: "},
		},
		"after a raise": {
			change: func(s *scene) { s.config.RaiseMax.Mode = policy.Act }, looks: 2, not: "is not known",
			want: []string{"\nwould raise nf_conntrack_max from 65,536 to ", "\nwould limit 10.0.0.5 to 50 new connections/s, 100 at once: "},
		},
		"in advice": {
			change: func(s *scene) { s.config.Mode = policy.Advise }, looks: 2, not: "would",
			want: []string{"\nadvice: limit 10.0.0.5 to 50 new connections/s, 100 at once: "},
		},
		"an SSH peer": {
			change: func(s *scene) {
				s.allowed = []policy.Allowed{{Prefix: netip.MustParsePrefix("10.0.0.5/32"), Why: "SSH peer"}}
			},
			looks: 2, not: "would",
			want: []string{"\nNever limited: SSH peer 10.0.0.5.\n", "steadily makes 3,000 connections/s, but is never limited: SSH peer\n"},
		},
		"nothing to be told by growth": {
			change: func(s *scene) { s.failing, s.count = 2, 65_536 }, looks: 2, not: "would",
			want: []string{"\ncensus 20,000 entries read; census 2: none: no luck\n"},
		},
		"no census": {
			change: func(s *scene) { s.failing = 1 }, looks: 1, not: "would",
			want: []string{"\ncensus none: no luck\n", "\ntable-filling ("},
		},
		"none may be limited": {
			change: func(s *scene) { s.config.LimitSource.Mode = policy.Off }, looks: 1, not: "10.0.0.5 to",
			want: []string{"\ncensus 20,000 entries read\n"},
		},
		"a calm table": {
			change: func(s *scene) { s.count = 100 }, not: "census",
			want: []string{"\nNothing is to be done.\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pressed(t)
				tc.change(s)
				p, text := s.plan()
				if tc.looks > 1 && !strings.Contains(p.Decisions[0].Reason, "by a census of 20,000") {
					t.Errorf("the first decision was made without the census: %s", p.Decisions[0].Reason)
				}
				if strings.Count(text, "would raise") > 1 {
					t.Errorf("what the second census is not asked is said twice:\n%s", text)
				}
				for _, want := range tc.want {
					if !strings.Contains(text, want) {
						t.Errorf("no %q in\n%s", want, text)
					}
				}
				if strings.Contains(text, tc.not) {
					t.Errorf("%q in\n%s", tc.not, text)
				}
				if len(s.looks) != tc.looks || tc.looks > 1 && s.looks[tc.looks-1]-s.looks[0] < time.Duration(tc.looks-1)*time.Second {
					t.Errorf("looked at %s", s.looks)
				}
				if list := s.config.LimitSource.Mode > policy.Off; (s.listed == 1) != list {
					t.Errorf("the allowlist was read %d times", s.listed)
				}
			})
		})
	}
}

// A listed flow would pass untracked, unless it is seen to be translated.
func TestPlanBypass(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*scene)
		want   string
		looked int
	}{
		"untracked":      {func(*scene) {}, "\nwould let dns pass untracked: ", 1},
		"translated":     {func(s *scene) { s.nat = "10.0.0.9:40000 → 192.0.2.53:53 udp" }, "\nstays tracked: dns, since 10.0.0.9:40000 → 192.0.2.53:53 udp is translated", 1},
		"not looked":     {func(s *scene) { s.broken = errors.New("no luck") }, "\nWhether flows that may bypass tracking are translated is not known: no luck\n", 1},
		"beside a raise": {func(s *scene) { s.config.RaiseMax.Mode = policy.Act }, "\nwould let dns pass untracked: ", 1},
		"nothing of it":  {func(s *scene) { s.seen = 0 }, "\ntable-filling (", 1},
		"a calm one":     {func(s *scene) { s.count = 100 }, "\nNothing is to be done.\n", 0},
		"not allowed":    {func(s *scene) { s.config.Bypass[0].Mode = policy.Off }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := pressed(t)
				s.config.LimitSource.Mode = policy.Off
				s.config.Bypass = []policy.Flow{{
					Name: "dns", Mode: policy.Act, Proto: 17, Ports: []policy.Ports{{Low: 53, High: 53}}, Hold: time.Minute,
					From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, To: []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")},
				}}
				tc.change(s)
				p, text := s.plan()
				if !strings.Contains(text, tc.want) || s.inspected != tc.looked || strings.Contains(text, "pass untracked") != strings.Contains(tc.want, "pass untracked") {
					t.Errorf("%d looks at flows, no %q in\n%s", s.inspected, tc.want, text)
				}
				if s.broken == nil && tc.looked > 0 && (len(p.Flows) != 1 || p.Flows[0] != flowSight{"dns", s.seen, s.nat}) {
					t.Errorf("%+v", p.Flows)
				}
			})
		})
	}
}

// A lifeline is there at the first reading of a full table, and does not hide what is
// wrong with it.
func TestPlanLifeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pressed(t)
		s.count, s.dropped = 65_536, 10
		s.config.LimitSource.Mode = policy.Off
		s.config.Bypass = []policy.Flow{{
			Name: "ssh", Mode: policy.Act, Proto: 6, Ports: []policy.Ports{{Low: 22, High: 22}}, Hold: time.Minute, Lifeline: true,
			From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		}}
		p, text := s.plan()
		if n := strings.Count(text, "would let ssh pass untracked: "); n != 1 || p.Cause != policy.TableFull || p.Census == "" {
			t.Errorf("cause %s, census %q, %d times the lifeline in\n%s", p.Cause, p.Census, n, text)
		}
	})
}

// Who is never limited is named by the reason, a long list not in full.
func TestAllowedText(t *testing.T) {
	var all []allowedSource
	addr := netip.MustParseAddr("192.0.2.1")
	for range allowedAtMost + 2 {
		all = append(all, allowedSource{netip.PrefixFrom(addr, 32), "own address"})
		addr = addr.Next()
	}
	all = append(all, allowedSource{netip.MustParsePrefix("2001:db8::/32"), "allowed by the policy"})
	want := "own address 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5, 192.0.2.6, 2 more; allowed by the policy 2001:db8::/32"
	if got := allowedText(all); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	var out strings.Builder
	printPlan(&out, plan{Max: 10, Allowed: all, Unlisted: "find name servers: no luck"})
	for _, want := range []string{"\nNever limited: own address 192.0.2.1, ", "\nNot all who are never limited are known: find name servers: no luck\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
