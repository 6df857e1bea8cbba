package census_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// sizesKey is the environment variable that names more sizes of tables, parted by
// blanks: CENSUS_SIZES="1000000 2000000". An entry takes 384 bytes of the kernel.
const sizesKey = "CENSUS_SIZES"

// Whatever the size, a full census counts what is there: exactly as long as a
// sketch has room for all keys, and otherwise within its bound. A sample is right
// within its interval.
func TestRootCountsTheTruth(t *testing.T) {
	sizes := []int{1000, 20_000, 200_000}
	for _, text := range strings.Fields(os.Getenv(sizesKey)) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", sizesKey, err)
		}
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		t.Run(strconv.Itoa(n), func(t *testing.T) { countTruth(t, n) })
	}
}

func countTruth(t *testing.T, n int) {
	g := gatewayOf(t, roomFor(n))
	mix := crowd(n)
	begun := time.Now()
	fill(t, g, mix...)
	filled := time.Since(begun)
	truth, err := lab.CountTruth(mix...)
	if err != nil {
		t.Fatal(err)
	}
	if truth.Entries != n {
		t.Fatalf("a mix of %d entries, want %d", truth.Entries, n)
	}
	full := take(t, g, census.Options{})
	if !full.Full || full.Read != n || full.Table != n {
		t.Errorf("full %t, read %d of %d, want %d", full.Full, full.Read, full.Table, n)
	}
	figures := 0
	compare(&full, &truth, func(name string, got census.Figure, want int) {
		figures++
		if got.Entries != got.Low || got.Low > want || want > got.High {
			t.Errorf("%s: %+v, want %d", name, got, want)
		}
	})
	offsets := checkLists(t, &full, &truth)
	t.Logf("%d entries in %s; read in %.3f s, %.3f s of CPU; %d figures right, sketches off by %v at most",
		n, filled.Round(time.Millisecond), full.Took, full.CPU, figures, offsets)

	sample := take(t, g, census.Options{Sample: 20_000})
	if sample.Full != (n <= 20_000) || sample.Read != min(n, 20_000) || sample.Table != n {
		t.Errorf("a sample: full %t, read %d of %d, want %d", sample.Full, sample.Read, sample.Table, n)
	}
	wrong, asked := 0, 0
	compare(&sample, &truth, func(name string, got census.Figure, want int) {
		asked++
		if want < got.Low || want > got.High {
			wrong++
			t.Logf("sampled %s: %+v, it is %d", name, got, want)
		}
	})
	t.Logf("a sample in %.3f s: %d of %d figures wrong", sample.Took, wrong, asked)
	if wrong > 3+asked/50 { // 1 % of them, and chance
		t.Errorf("a sample: %d of %d figures are wrong", wrong, asked)
	}
}

// roomFor is a machine with room for n entries. Chains stay short.
func roomFor(n int) lab.Sizes {
	if n < 50_000 {
		return lab.Sizes{}
	}
	return lab.Sizes{Max: n + n/4, Buckets: (n + 511) / 512 * 512}
}

// crowd is a mix of n entries of every sort, with more sources, destinations,
// services and pools than a sketch has room for where n is large.
func crowd(n int) []lab.Entries {
	one := func(address string) lab.NATPool { return lab.NATPool{First: netip.MustParseAddr(address)} }
	mix := []lab.Entries{
		tcp(lab.Entries{Count: n * 30 / 100, Sources: max(1, n/20), FirstSource: 1, SNAT: one("203.0.113.7")}),
		tcp(lab.Entries{Count: n * 15 / 100, Sources: max(1, n/10), PerNet: 2, Family: 6, Ports: []uint16{443, 80}}),
		tcp(lab.Entries{Count: n * 5 / 100, Sources: max(1, n/100), Family: 6, SNAT: one("2001:db8:5::1")}),
		tcp(lab.Entries{Count: n * 5 / 100, Sources: 3, Zone: 9, DNAT: netip.MustParseAddr("172.20.0.1"), Destinations: 5}),
		{Count: n * 10 / 100, Proto: unix.IPPROTO_UDP, Timeout: 100_000 * time.Second, Sources: max(1, n/50), Mark: 7},
		{Count: n * 10 / 100, Proto: unix.IPPROTO_TCP, State: lab.SynSent, Timeout: 100_000 * time.Second, Destinations: min(n/20, 100_000), SNAT: one("203.0.113.8")},
		{Count: n * 4 / 100, Proto: unix.IPPROTO_ICMP, Timeout: 100_000 * time.Second, Sources: max(1, n/200), Replied: true},
		{Count: n * 1 / 100, Proto: unix.IPPROTO_ICMPV6, Timeout: 100_000 * time.Second, Sources: max(1, n/200), Family: 6},
	}
	for _, e := range mix {
		n -= e.Count
	}
	hog := lab.Entries{Count: n, SNAT: one("203.0.113.9")} // a fifth
	return append(mix, tcp(hog))
}

// room is how many keys each sketch counts exactly: three quarters of its slots.
var room = map[string]int{"sources": 12288, "destinations": 12288, "services": 12288, "pools": 6144}

// checkLists compares the lists of a full census with all there is, and returns by
// how much each sketch is off at most.
func checkLists(t *testing.T, r *census.Report, truth *lab.Truth) map[string]int {
	pools := map[string]int{}
	for p, use := range truth.Pools {
		pools[fmt.Sprint(p.NAT, p.Dst, p.Port, p.Proto)] = use.Ports
	}
	offsets := map[string]int{}
	check := func(of string, largest []int, rows map[string]census.Figure) {
		offsets[of] = checkList(t, of, largest, rows)
	}
	rows := map[string]census.Figure{}
	for _, s := range r.Sources {
		rows[s.Prefix.String()] = s.Figure
	}
	check("sources", largest(truth.Sources), rows)
	rows = map[string]census.Figure{}
	for _, d := range r.Destinations {
		rows[d.Addr.String()] = d.Figure
	}
	check("destinations", largest(truth.Destinations), rows)
	rows = map[string]census.Figure{}
	for _, s := range r.Services {
		rows[fmt.Sprint(s.Addr, s.Port, s.Proto)] = s.Figure
	}
	check("services", largest(truth.Services), rows)
	rows = map[string]census.Figure{}
	for _, p := range r.Pools {
		rows[fmt.Sprint(p.NAT, p.Dst, p.Port, number(p.Proto))] = p.Figure
	}
	check("pools", largest(pools), rows)
	return offsets
}

func largest[K comparable](counts map[K]int) []int {
	return slices.SortedFunc(maps.Values(counts), func(a, b int) int { return cmp.Compare(b, a) })
}

// checkList checks that a list is as long as it can be, that no row is more
// uncertain than the sketch's bound, and that the rows are the largest there are.
func checkList(t *testing.T, of string, largest []int, rows map[string]census.Figure) (offset int) {
	t.Helper()
	if len(rows) != min(len(largest), 100) {
		t.Errorf("%d %s, want %d", len(rows), of, min(len(largest), 100))
	}
	total := 0
	for _, n := range largest {
		total += n
	}
	bound, sure := 2*total/room[of], 0
	if len(largest) <= room[of] {
		bound = 0
	}
	for _, f := range rows {
		offset = max(offset, f.High-f.Low)
		sure += f.Low
	}
	if offset > bound {
		t.Errorf("%s: off by %d, the bound is %d", of, offset, bound)
	}
	best := 0
	for _, n := range largest[:len(rows)] {
		best += n - bound
	}
	if sure < best {
		t.Errorf("%s: those listed have %d, the largest %d at least", of, sure, best)
	}
	return offset
}
