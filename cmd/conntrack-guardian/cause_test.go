package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// An incident is trouble made on the real kernel, and the diagnosis of it.
type incident struct {
	options lab.Options
	policy  string // more of it
	past    string // what the daemon has learned
	before  func(s *site)
	traffic func(s *site)
	says    []string // in one line of an episode's beginning or a new diagnosis
	never   []string // in any line
}

// TestRootCauses makes each cause and pattern that a lab can make, and reads the
// daemon's diagnosis. A failed allocation of an entry (cause memory) it can't make.
func TestRootCauses(t *testing.T) {
	for name, i := range map[string]incident{
		"full of assured entries": {
			// drop: nothing can be evicted but a handshake that is under way.
			traffic: flood(lab.Flood{Pattern: lab.Assured, Rate: 15_000, Count: 90_000, For: 12 * time.Second, Sources: 64}),
			says:    []string{"table-full", "drop +", "NEITHER insert_failed", "by a census of 20,000"},
		},
		"full of half-open entries": {
			// early_drop alone: each is somebody's connection.
			traffic: flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 15_000, Count: 90_000, For: 12 * time.Second, Sources: 1}),
			says:    []string{"table-full", "early_drop +", "NEITHER insert_failed", "half-open TCP 100.0 %", "10.78.0.0 holds 100.0 %"},
		},
		"no source port": {
			options: lab.Options{Ports: lab.Ports{First: 20000, Last: 20499}},
			traffic: flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 2000, Count: 8000, For: 10 * time.Second, Sources: 8}),
			says:    []string{"snat-ports", "drop +", "insert_failed +", "found +", ": 500, all within 20000-20499"},
			never:   []string{"table-full", "raise nf_conntrack_max"},
		},
		"too few buckets": {
			before: func(s *site) {
				if err := sysctl.Write("net.netfilter.nf_conntrack_buckets", "1024"); err != nil {
					s.Fatal(err)
				}
			},
			policy:  "[grow_buckets]\nmode = \"observe\"\nchain = 1024\n",
			traffic: flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 10_000, Count: 40_000, For: 10 * time.Second, Sources: 64}),
			says:    []string{"hash-chains", "insert_failed +", "chaintoolong +"},
			never:   []string{"table-full", "raise nf_conntrack_max"},
		},
		"churn of TCP": {
			before: filledWith(
				lab.Entries{Count: 45_000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 100 * time.Second, Sources: 200},
				lab.Entries{Count: 12_000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 432_000 * time.Second, Sources: 200},
			),
			says: []string{"table-filling (churn, ", "connections that are over hold 79 %", "closing TCP 7"},
		},
		"churn of UDP": {
			before: filledWith(
				lab.Entries{Count: 45_000, Proto: unix.IPPROTO_UDP, Timeout: 16 * time.Second, Sources: 200},
				lab.Entries{Count: 12_000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 432_000 * time.Second, Sources: 200},
			),
			says: []string{"table-filling (churn, ", "dead UDP 7"},
		},
		"leak": {
			past: hours(30, 20_000, 1500, 50),
			before: filledWith(
				lab.Entries{Count: 50_000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 400_000 * time.Second, Sources: 200},
				lab.Entries{Count: 6_000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 432_000 * time.Second, Sources: 200},
			),
			says: []string{"table-filling (leak, 8", "its low has been rising for 30 hours", "idle TCP "},
		},
		"chronic": {
			past: hours(30, 45_000, 0, 50),
			before: filledWith(
				lab.Entries{Count: 40_000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 432_000 * time.Second, Sources: 200},
				lab.Entries{Count: 16_000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 100 * time.Second, Sources: 200},
			),
			says: []string{"table-filling (chronic, 100 % sure)", "not under 32,768 for 30 hours", "closing TCP 2"},
		},
		"spike by one source": {
			past:    hours(48, 5_000, 0, 120),
			policy:  "[census]\ncount_new = \"always\"\n",
			traffic: flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 6_000, Count: 60_000, For: 12 * time.Second, Sources: 1}),
			says:    []string{"(spike, ", "ordinary is up to 120/s", "half-open TCP ", "10.78.0.0 holds ", "new connections/s", "of them by 10.78.0.0"},
		},
	} {
		t.Run(name, i.diagnose)
	}
}

func (i incident) diagnose(t *testing.T) {
	s := newSiteWith(t, i.options)
	text, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	// In mode advise the trouble stays, and with it what it looks like.
	s.write("guardian.toml", strings.Replace(string(text), `"act"`, `"advise"`, 1)+i.policy)
	if i.past != "" {
		if err := os.Mkdir(s.path("state"), 0o750); err != nil {
			t.Fatal(err)
		}
		s.write("state/baseline.json", i.past)
	}
	if i.before != nil {
		i.before(s)
	}
	d := s.start()
	if i.traffic != nil {
		i.traffic(s)
	}
	s.until(fmt.Sprintf("a diagnosis says %q", i.says), func() bool { return i.told(d.log.String()) != "" })
	t.Log(i.told(d.log.String()))
	d.stop()
	for _, never := range i.never {
		if d.count(never) > 0 {
			t.Errorf("%q in the log:\n%s", never, d.log.String())
		}
	}
	if n := d.count("ACTION=diagnosed"); n > 4 {
		t.Errorf("%d diagnoses:\n%s", n, d.log.String())
	}
}

// told is the message of a line that says all, empty if there is none.
func (i incident) told(log string) string {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "ACTION=episode-opened") && !strings.Contains(line, "ACTION=diagnosed") {
			continue
		}
		message, _, _ := strings.Cut(line, " ACTION=")
		all := true
		for _, part := range i.says {
			text, not := strings.CutPrefix(part, "NEITHER ")
			all = all && strings.Contains(message, text) != not
		}
		if all {
			return message
		}
	}
	return ""
}

func flood(f lab.Flood) func(*site) {
	return func(s *site) {
		s.Helper()
		if _, err := s.gateway.Flood(s.Context(), f); err != nil {
			s.Fatal(err)
		}
	}
}

func filledWith(mix ...lab.Entries) func(*site) {
	return func(s *site) {
		s.Helper()
		if r, err := s.gateway.Fill(s.Context(), mix...); err != nil || len(r.Failed) > 0 {
			s.Fatalf("%v, %v", r.Failed, err)
		}
	}
}

// hours is a learned baseline of so many hours, with a low that rises by as many
// entries an hour and the same rate in each.
func hours(n, low, rise, rate int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"low":%d,"high":%d,"rate":%d}`, low+i*rise, low+i*rise+100, rate))
	}
	return `{"version":1,"hours":[` + strings.Join(all, ",") + `],"part":{},"seen":0}`
}
