package entries_test

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
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// BenchmarkRootWalk deletes half of a table and pairs that with the floor: a dump of
// the same table that is received and thrown away.
func BenchmarkRootWalk(b *testing.B) {
	const half = 500_000
	g := gateway(b, lab.Sizes{Max: 3 * half, Buckets: 1 << 18})
	pool := lab.NATPool{First: netip.MustParseAddr("203.0.113.1"), Addresses: 16}
	old := timeWait(half, 3600)
	old.Sources, old.Destinations, old.SNAT = 3000, 20_000, pool
	young := tcp(half, lab.Established, 360_000)
	young.Sources, young.Destinations, young.SNAT = 3000, 4000, pool
	fill(b, g, young)
	p := shortened(b, g, map[timeout.Class]int{timeout.TCPTimeWait: 7200}, map[timeout.Class]int{timeout.TCPTimeWait: 60})
	var wallRatios, cpuRatios, floors, walls, cpus []float64
	for b.Loop() {
		fill(b, g, old)
		floorWall, floorCPU := discard(b, g)
		r := walk(b, p)
		if r.Deleted != old.Count || r.Read < 2*old.Count || r.Kept.Other != old.Count {
			b.Fatalf("%+v", r)
		}
		wallRatios, cpuRatios = append(wallRatios, r.Took/floorWall), append(cpuRatios, r.CPU/floorCPU)
		floors, walls, cpus = append(floors, floorWall), append(walls, r.Took), append(cpus, r.CPU)
	}
	b.ReportMetric(median(floors), "floor-s")
	b.ReportMetric(median(walls), "walk-s")
	b.ReportMetric(median(cpus), "walk-cpu-s")
	b.ReportMetric(median(wallRatios), "wall-ratio")
	b.ReportMetric(median(cpuRatios), "cpu-ratio")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// discard is how long it takes to receive the table and look at nothing.
func discard(b *testing.B, g *lab.Gateway) (wall, cpu float64) {
	b.Helper()
	err := netns.Do(g.Router.Path(), func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begun, before := time.Now(), threadTime(b)
		c, err := ctnetlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		_, bytes, err := c.Discard(b.Context())
		if bytes < 1<<20 {
			b.Errorf("%d bytes", bytes)
		}
		wall, cpu = time.Since(begun).Seconds(), threadTime(b)-before
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return wall, cpu
}

// threadTime is the CPU time of the calling thread in seconds.
func threadTime(b *testing.B) float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
