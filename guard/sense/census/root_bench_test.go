package census_test

import (
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// BenchmarkRootTake pairs a full census of 262,144 entries with the floor, a dump
// that is received and thrown away, and with a sample. The ratio is the median of
// that of each pair, in CPU time of the thread.
func BenchmarkRootTake(b *testing.B) {
	const entries = 1 << 18
	g := gateway(b)
	fill(b, g, large(entries)...)
	if r := take(b, g, census.Options{}); r.Read != entries {
		b.Fatalf("%d entries", r.Read)
	}
	var ratios, floors, fulls, samples []float64
	for b.Loop() {
		floor := discard(b, g)
		full := take(b, g, census.Options{}).CPU
		floors, fulls, ratios = append(floors, floor), append(fulls, full), append(ratios, full/floor)
		samples = append(samples, take(b, g, census.Options{Sample: 20_000}).CPU)
	}
	b.ReportMetric(median(floors), "floor-s")
	b.ReportMetric(median(fulls), "full-s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(samples), "sample-s")
}

// BenchmarkRootFind is what it costs to look for what is not there in 262,144 entries,
// in CPU time: with the kernel leaving out nothing, another protocol, and all but one
// port in each of the four places that a tuple has for it.
func BenchmarkRootFind(b *testing.B) {
	const entries, port = 1 << 18, 7777
	g := gateway(b)
	fill(b, g, large(entries)...)
	match := func(m ctnetlink.Match) ctnetlink.Match { m.Proto = unix.IPPROTO_TCP; return m }
	for _, bm := range []struct {
		name    string
		queries []ctnetlink.Query
	}{
		{"everything", []ctnetlink.Query{{}}},
		{"IPv4 and TCP", []ctnetlink.Query{{Family: unix.AF_INET, Orig: match(ctnetlink.Match{})}}},
		{"IPv4 and GRE", []ctnetlink.Query{{Family: unix.AF_INET, Orig: ctnetlink.Match{Proto: unix.IPPROTO_GRE}}}},
		{"four ports", []ctnetlink.Query{
			{Family: unix.AF_INET, Orig: match(ctnetlink.Match{DstPort: port})},
			{Family: unix.AF_INET, Orig: match(ctnetlink.Match{SrcPort: port})},
			{Family: unix.AF_INET, Reply: match(ctnetlink.Match{DstPort: port})},
			{Family: unix.AF_INET, Reply: match(ctnetlink.Match{SrcPort: port})},
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var seconds float64
			seen := 0
			for b.Loop() {
				err := netns.Do(g.Router.Path(), func() error {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					before := threadTime(b)
					err := census.Find(b.Context(), census.Search{Queries: bm.queries}, func(*ctnetlink.Entry) bool { seen++; return true })
					seconds += threadTime(b) - before
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(seconds/float64(b.N), "cpu-s")
			b.ReportMetric(float64(seen)/float64(b.N), "entries")
		})
	}
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// large is what a busy gateway has.
func large(n int) []lab.Entries {
	pool := lab.NATPool{First: netip.MustParseAddr("203.0.113.1"), Addresses: 4}
	web := tcp(lab.Entries{Count: n / 2, Sources: 3000, Destinations: 4000, Ports: []uint16{443, 80}, SNAT: pool})
	return []lab.Entries{
		web,
		{Count: n / 4, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 3000, Destinations: 5000, Ports: []uint16{53}},
		{Count: n / 8, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Timeout: time.Hour, Sources: 3000, Destinations: 20_000},
		tcp(lab.Entries{Count: n / 8, Sources: 2000, PerNet: 4, Family: 6, Destinations: 3000}),
	}
}

// discard is how much CPU time it takes to receive the table and look at nothing.
func discard(b *testing.B, g *lab.Gateway) (seconds float64) {
	b.Helper()
	err := netns.Do(g.Router.Path(), func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := threadTime(b)
		c, err := ctnetlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		_, bytes, err := c.Discard(b.Context())
		if bytes < 1<<20 {
			b.Errorf("%d bytes", bytes)
		}
		seconds = threadTime(b) - before
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return seconds
}

// threadTime is the CPU time of the calling thread in seconds.
func threadTime(b testing.TB) float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
