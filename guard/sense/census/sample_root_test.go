package census_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// Of a hundred tables, the sample of each is right about all kinds of rows at
// least 95 times.
func TestRootSamplesCoverTheTruth(t *testing.T) {
	const runs, table, sample = 100, 20_000, 2000
	g := gateway(t)
	mix := []lab.Entries{
		tcp(lab.Entries{Count: 4000, Destinations: 10}), // the hog
		tcp(lab.Entries{Count: 9000, Sources: 900, FirstSource: 1, Destinations: 20}),
		{Count: 6000, Proto: unix.IPPROTO_UDP, Timeout: 1000 * time.Second, Sources: 400, FirstSource: 1},
		tcp(lab.Entries{Count: 800, Sources: 40, Family: 6}),
		{Count: 180, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Timeout: 1000 * time.Second, Zone: 3},
		{Count: 20, Proto: unix.IPPROTO_ICMP, Timeout: 1000 * time.Second},
	}
	hits, asked := map[string]int{}, map[string]int{}
	for run := range runs {
		flush(t, g)
		fill(t, g, mix...)
		r := take(t, g, census.Options{Sample: sample})
		if r.Full || r.Read != sample || r.Table != table {
			t.Fatalf("run %d: full %t, %d of %d", run, r.Full, r.Read, r.Table)
		}
		figures := map[string][2]int{}
		for _, named := range append(r.Protocols, r.States...) {
			figures[named.Name] = [2]int{named.Low, named.High}
		}
		for _, z := range r.Zones {
			figures[fmt.Sprint("zone ", z.Zone)] = [2]int{z.Low, z.High}
		}
		figures["ipv6"], figures["assured"] = [2]int{r.IPv6.Low, r.IPv6.High}, [2]int{r.Assured.Low, r.Assured.High}
		figures["hog"] = [2]int{r.Sources[0].Low, r.Sources[0].High}
		for name, want := range map[string]int{
			"hog": 4000 + 180 + 20, "tcp": 13_980, "udp": 6000, "icmp": 20, "ESTABLISHED": 13_800,
			"TIME_WAIT": 180, "ipv6": 800, "zone 0": 19_820, "zone 3": 180, "assured": 13_800,
		} {
			bounds, listed := figures[name]
			if !listed {
				continue // none in the sample
			}
			asked[name]++
			if bounds[0] <= want && want <= bounds[1] {
				hits[name]++
			}
		}
	}
	for name, n := range asked {
		t.Logf("%-12s right in %d of %d", name, hits[name], n)
		if hits[name] < n*95/100 || n < runs*8/10 {
			t.Errorf("%s: right in %d of %d", name, hits[name], n)
		}
	}
}

// flush empties a gateway's table.
func flush(t testing.TB, g *lab.Gateway) {
	t.Helper()
	err := g.Router.Do(func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		return errors.Join(c.Flush(), c.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if n, err := g.Count(); err != nil || n == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the table does not get empty")
}

// A sample that reads the whole table is full.
func TestRootSampleOfASmallTable(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 500}))
	for sample, full := range map[int]bool{499: false, 500: true, 501: true, 20_000: true} {
		r := take(t, g, census.Options{Sample: sample})
		if r.Full != full || r.Table != 500 || r.Read != min(sample, 500) {
			t.Errorf("sample of %d: full %t, read %d of %d", sample, r.Full, r.Read, r.Table)
		}
	}
}

// A sample of a table that grows beyond it meanwhile is one, whatever the kernel
// counted at first: entries that were not read are nobody's certainty.
func TestRootSampleOfAGrowingTable(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 5000, Sources: 50}))
	grown := false
	r := take(t, g, census.Options{Sample: 6000, Progress: func(int, int) {
		if !grown {
			grown = true
			fill(t, g, tcp(lab.Entries{Count: 15_000, Sources: 50, FirstSource: 50}))
		}
	}})
	if !grown {
		t.Fatal("read in one go")
	}
	if r.Full || r.Read != 6000 || r.Table <= 6000 || r.Assured.Entries != r.Table || r.Assured.Low == r.Assured.High {
		t.Errorf("full %t, %d of %d read, assured %+v", r.Full, r.Read, r.Table, r.Assured)
	}
}

func TestRootCensusOfNothing(t *testing.T) {
	g := gateway(t)
	r := take(t, g, census.Options{Sample: 100})
	if !r.Full || r.Read != 0 || r.Table != 0 || len(r.Sources) != 0 || r.Max == 0 {
		t.Errorf("%+v", r)
	}
}
