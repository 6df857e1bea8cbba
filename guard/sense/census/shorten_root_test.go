package census_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// aging is a mix of entries of all ages, with sources of that run's own, and what
// becomes of them. Nothing of it changes its fate within ten seconds.
func aging(run int) (mix []lab.Entries, asked []shortening) {
	entries := func(count int, proto, state uint8, assured bool, left time.Duration) lab.Entries {
		return lab.Entries{
			Count: count, Proto: proto, State: state, Assured: assured, Timeout: left * time.Second,
			Sources: 40, FirstSource: 40 * run,
		}
	}
	fixed := entries(150, unix.IPPROTO_TCP, lab.TimeWait, true, 60)
	fixed.Fixed = true
	mix = []lab.Entries{
		fixed,
		entries(900, unix.IPPROTO_TCP, lab.TimeWait, true, 60),
		entries(600, unix.IPPROTO_TCP, lab.TimeWait, true, 80),
		entries(700, unix.IPPROTO_TCP, lab.TimeWait, true, 119),
		entries(300, unix.IPPROTO_TCP, lab.TimeWait, true, 900), // of somebody's policy
		entries(800, unix.IPPROTO_UDP, 0, true, 60),
		entries(200, unix.IPPROTO_UDP, 0, true, 115),
		entries(250, unix.IPPROTO_TCP, lab.Established, true, 300_000),
		entries(350, unix.IPPROTO_TCP, lab.Established, true, 431_900),
		entries(100, unix.IPPROTO_TCP, lab.Established, true, 250), // may wait for an answer
		entries(150, unix.IPPROTO_SCTP, lab.SCTPEstablished, true, 100),
	}
	return mix, []shortening{
		{"tcp_timeout_time_wait", 30, 900 + 600, 700, 0, 0},
		{"tcp_timeout_time_wait", 50, 900, 600 + 700, 0, 0},
		{"tcp_timeout_time_wait", 120, 0, 0, 0, 0},
		{"udp_timeout_stream", 40, 800, 200, 0, 0},
		{"tcp_timeout_established", 7440, 0, 0, 250, 350},
		{"sctp_timeout_established", 60, 150, 0, 0, 0}, // which is 210
	}
}

// A shortening is what a new timeout does to a class.
type shortening struct {
	class                        string
	seconds                      int
	freed, sooner, alive, faster int // the last two are assured connections in ESTABLISHED
}

// judge compares a shortening with what a report says of it. Only a sample may lack
// a class.
func (s shortening) judge(r *census.Report, is judge) {
	for i := range r.Classes {
		if r.Classes[i].Name != s.class {
			continue
		}
		got := r.Shorten(&r.Classes[i], s.seconds)
		name := fmt.Sprint(s.class, " to ", s.seconds)
		is(name+" freed", got.Freed, s.freed)
		is(name+" sooner", got.Sooner, s.sooner)
		is(name+" freed, established", got.Established.Freed, s.alive)
		is(name+" sooner, established", got.Established.Sooner, s.faster)
	}
}

// Of known entries it is known what a shorter timeout does to them. A full census
// says it within its bins, and 99 of 100 samples within theirs and chance.
func TestRootShortenTellsTheTruth(t *testing.T) {
	const runs, sample = 100, 1000
	g := gateway(t)
	if err := g.Router.Do(func() error {
		return sysctl.Write("net.netfilter.nf_conntrack_sctp_timeout_established", "210")
	}); err != nil {
		t.Fatal(err)
	}
	hits, asked := map[string]int{}, map[string]int{}
	for run := range runs {
		flush(t, g)
		mix, shortenings := aging(run)
		fill(t, g, mix...)
		full, part := take(t, g, census.Options{}), take(t, g, census.Options{Sample: sample})
		if !full.Full || part.Full || part.Read != sample || part.Table != full.Table {
			t.Fatalf("full %t, %d of %d, and %d of %d", full.Full, full.Read, full.Table, part.Read, part.Table)
		}
		figures := 0
		for _, s := range shortenings {
			s.judge(&full, func(name string, got census.Figure, want int) {
				figures++
				if want < got.Low || got.High < want {
					t.Errorf("run %d, %s: %+v, want %d", run, name, got, want)
				}
			})
			s.judge(&part, func(name string, got census.Figure, want int) {
				asked[name]++
				if got.Low <= want && want <= got.High {
					hits[name]++
				}
			})
		}
		if figures != 4*len(shortenings) {
			t.Fatalf("%d figures", figures)
		}
	}
	for name, n := range asked {
		t.Logf("%-56s right in %d of %d", name, hits[name], n)
		if hits[name] < n*95/100 || n < runs { // 99 in the long run
			t.Errorf("%s: right in %d of %d", name, hits[name], n)
		}
	}
}
