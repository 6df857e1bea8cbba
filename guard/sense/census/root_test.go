package census_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// gateway makes a gateway that the test's end takes away. Meanwhile nobody else
// lowers nf_conntrack_max, which is one value for the machine.
func gateway(t testing.TB) *lab.Gateway { return gatewayOf(t, lab.Sizes{}) }

// gatewayOf is a gateway on a machine of these sizes, where they are not 0.
func gatewayOf(t testing.TB, sizes lab.Sizes) *lab.Gateway {
	t.Helper()
	hold(t, sizes)
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// hold makes sure that nobody else changes the machine's values, and puts them
// back.
func hold(t testing.TB, sizes lab.Sizes) *lab.MaxHold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := lab.HoldSizes(ctx, sizes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := h.Release(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// fill makes entries, all of them.
func fill(t testing.TB, g *lab.Gateway, mix ...lab.Entries) {
	t.Helper()
	r, err := g.Fill(t.Context(), mix...)
	if err != nil || len(r.Errors) > 0 {
		t.Fatalf("fill: %+v, %v", r, err)
	}
}

// take takes a census of a gateway.
func take(t testing.TB, g *lab.Gateway, o census.Options) census.Report {
	t.Helper()
	o.Namespace = g.Router.Path()
	r, err := census.Take(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tcp are established connections; they outlive every test.
func tcp(e lab.Entries) lab.Entries {
	e.Proto, e.State, e.Assured, e.Timeout = unix.IPPROTO_TCP, lab.Established, true, 400_000*time.Second
	return e
}

// known is a mix of all that a census tells apart, in few enough rows for its
// lists.
func known() []lab.Entries {
	pool := lab.NATPool{First: netip.MustParseAddr("203.0.113.7"), Addresses: 2, Ports: lab.Ports{First: 2000, Last: 2999}}
	mix := []lab.Entries{
		tcp(lab.Entries{Count: 1501, Sources: 7, Destinations: 5, Ports: []uint16{443, 80, 22}}),
		tcp(lab.Entries{Count: 902, Sources: 3, FirstSource: 5, SNAT: pool}),
		tcp(lab.Entries{Count: 503, Sources: 11, Zone: 9, DNAT: netip.MustParseAddr("192.0.2.200"), Destinations: 3}),
		tcp(lab.Entries{Count: 605, Sources: 60, PerNet: 6, Family: 6}),
		tcp(lab.Entries{Count: 307, Sources: 4, Family: 6, SNAT: lab.NATPool{First: netip.MustParseAddr("2001:db8:5::1")}}),
		{Count: 301, Proto: unix.IPPROTO_UDP, Timeout: 30 * time.Second, Sources: 4, SNAT: pool},
		{Count: 202, Proto: unix.IPPROTO_UDP, Timeout: 15 * time.Second},                                             // dead
		{Count: 303, Proto: unix.IPPROTO_UDP, Timeout: 120 * time.Second, Assured: true, Family: 6},                  // alive
		{Count: 104, Proto: unix.IPPROTO_UDP, Timeout: 90 * time.Second, Assured: true},                              // dead
		{Count: 105, Proto: unix.IPPROTO_UDP, Timeout: 500 * time.Second},                                            // of somebody's policy
		{Count: 106, Proto: unix.IPPROTO_ICMP, Timeout: 30 * time.Second, Replied: true, SNAT: pool},                 // no ports
		{Count: 107, Proto: unix.IPPROTO_ICMPV6, Timeout: 30 * time.Second, Family: 6, Sources: 5},                   //
		{Count: 108, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 431_900 * time.Second}, // busy
	}
	for state := lab.SynSent; state <= lab.SynSent2; state++ {
		if state != lab.Established {
			mix = append(mix, lab.Entries{Count: 20 + int(state), Proto: unix.IPPROTO_TCP, State: state, Timeout: 100 * time.Second})
		}
	}
	return mix
}

// judge checks a figure; the name says of what.
type judge func(name string, got census.Figure, want int)

// compare hands each figure of a report to a judge, with the truth.
func compare(r *census.Report, truth *lab.Truth, is judge) {
	is("assured", r.Assured, truth.Assured)
	is("unreplied", r.Unreplied, truth.Unreplied)
	is("snat", r.SNAT, truth.SNAT)
	is("dnat", r.DNAT, truth.DNAT)
	is("ipv6", r.IPv6, truth.IPv6)
	is("offloaded", r.Offloaded, 0)
	for _, s := range r.Sources {
		is("source "+s.Prefix.String(), s.Figure, truth.Sources[s.Prefix])
	}
	for _, d := range r.Destinations {
		is("destination "+d.Addr.String(), d.Figure, truth.Destinations[d.Addr])
	}
	for _, s := range r.Services {
		is(fmt.Sprint("service ", s.Addr, s.Port, s.Proto), s.Figure, truth.Services[lab.Service{Addr: s.Addr, Port: s.Port, Proto: number(s.Proto)}])
	}
	for _, p := range r.Pools {
		use := truth.Pools[lab.Pool{NAT: p.NAT, Dst: p.Dst, Port: p.Port, Proto: number(p.Proto)}]
		is(fmt.Sprint("pool ", p.NAT, p.Dst, p.Port, p.Proto), p.Figure, use.Ports)
		// A pool that a purge may have dropped meanwhile is seen in part.
		beyond := p.Lowest < use.Lowest || p.Highest > use.Highest
		if beyond || r.Full && p.Low == p.High && (p.Lowest != use.Lowest || p.Highest != use.Highest) {
			is(fmt.Sprint("ports of ", p, " for ", use), p.Figure, -1)
		}
	}
	for _, p := range r.Protocols {
		is("protocol "+p.Name, p.Figure, truth.Protocols[number(p.Name)])
	}
	for state, name := range states {
		for _, s := range r.States {
			if s.Name == name {
				is("state "+name, s.Figure, truth.States[uint8(state)])
			}
		}
	}
	for _, z := range r.Zones {
		is(fmt.Sprint("zone ", z.Zone), z.Figure, truth.Zones[z.Zone])
	}
}

var states = strings.Fields("NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2")

// number is that of a protocol.
func number(name string) uint8 {
	return map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6}[name]
}

// exact is the judge of a full census.
func exact(t *testing.T, table int) judge {
	return func(name string, got census.Figure, want int) {
		t.Helper()
		if got.Entries != want || got.Low != want || got.High != want || got.Share != float64(want)/float64(table) {
			t.Errorf("%s: %+v, want %d", name, got, want)
		}
	}
}

func TestRootFullCensusIsExact(t *testing.T) {
	g := gateway(t)
	mix := known()
	fill(t, g, mix...)
	truth, err := lab.CountTruth(mix...)
	if err != nil {
		t.Fatal(err)
	}
	r := take(t, g, census.Options{})
	if !r.Full || r.Read != truth.Entries || r.Table != truth.Entries || r.Source != "" {
		t.Errorf("full %t, read %d of %d, want %d", r.Full, r.Read, r.Table, truth.Entries)
	}
	is := exact(t, truth.Entries)
	compare(&r, &truth, is)
	is("closing", r.Closing, 24+25+26+27+28)
	is("opening", r.Opening, 21+22+29)
	is("dead UDP", r.DeadUDP, 202+104)
	is("idle", r.Idle, 1501+902+503+605+307)
	for name, lengths := range map[string][2]int{
		"sources": {len(r.Sources), len(truth.Sources)}, "destinations": {len(r.Destinations), len(truth.Destinations)},
		"services": {len(r.Services), len(truth.Services)}, "pools": {len(r.Pools), len(truth.Pools)},
		"protocols": {len(r.Protocols), len(truth.Protocols)}, "states": {len(r.States), len(truth.States)},
		"zones": {len(r.Zones), len(truth.Zones)},
	} {
		if lengths[0] != lengths[1] {
			t.Errorf("%d %s, want %d", lengths[0], name, lengths[1])
		}
	}
	checkClasses(t, g, &r, &truth)
}

// checkClasses compares the classes and what is left of their timeouts.
func checkClasses(t *testing.T, g *lab.Gateway, r *census.Report, truth *lab.Truth) {
	t.Helper()
	for _, class := range r.Classes {
		made := truth.Classes[class.Name]
		if class.Name == "tcp_timeout_syn_sent2" {
			if class.Entries != 29 || class.Timeout != 0 {
				t.Errorf("%+v, want 29 without a key", class)
			}
			continue
		}
		timeout, err := g.Router.Sysctl("net.netfilter.nf_conntrack_" + class.Name)
		if err != nil || class.Timeout != timeout {
			t.Errorf("%s: timeout %d, want %d, %v", class.Name, class.Timeout, timeout, err)
		}
		want := map[time.Duration]int{}
		for seconds, n := range made {
			want[seconds] += n
		}
		if class.Name == "tcp_timeout_syn_sent" {
			want[100*time.Second] -= 29
		}
		for _, bin := range class.Remaining {
			for seconds := range want {
				// Some seconds may have passed.
				if left := int(seconds / time.Second); bin.From <= left && bin.To >= left-5 {
					want[seconds] -= bin.Entries
					break
				}
			}
		}
		for seconds, n := range want {
			if n != 0 {
				t.Errorf("%s: %d entries with %s are missing in %+v", class.Name, n, seconds, class)
			}
		}
	}
	if len(r.Classes) != len(truth.Classes)+1 {
		t.Errorf("%d classes, want %d", len(r.Classes), len(truth.Classes)+1)
	}
}

// A drill-down counts what comes from a prefix, and nothing else.
func TestRootDrillDown(t *testing.T) {
	g := gateway(t)
	mix := known()
	fill(t, g, mix...)
	whole := take(t, g, census.Options{})
	for _, of := range []struct {
		prefix string
		is     func(lab.Entry) bool
	}{
		{whole.Sources[0].Prefix.String(), func(e lab.Entry) bool { return e.Orig.Src == whole.Sources[0].Prefix.Addr() }},
		{"0.0.0.0/0", func(e lab.Entry) bool { return e.Orig.Src.Is4() }},
		{"::/0", func(e lab.Entry) bool { return e.Orig.Src.Is6() }},
		{"198.51.100.0/24", func(lab.Entry) bool { return false }},
	} {
		prefix := netip.MustParsePrefix(of.prefix)
		want := 0
		sources := map[netip.Prefix]int{}
		if err := lab.Each(func(e lab.Entry) {
			if of.is(e) {
				want++
				bits := 32
				if e.Orig.Src.Is6() {
					bits = 64
				}
				sources[netip.PrefixFrom(e.Orig.Src, bits).Masked()]++
			}
		}, mix...); err != nil {
			t.Fatal(err)
		}
		r := take(t, g, census.Options{Source: prefix, Sample: 10})
		if !r.Full || r.Table != want || r.Read < want || r.Source != of.prefix {
			t.Errorf("%s: full %t, %d of %d read, want %d", of.prefix, r.Full, r.Table, r.Read, want)
		}
		if prefix.Bits() == 32 && r.Read != want {
			t.Errorf("%s: %d entries left the kernel, want %d", of.prefix, r.Read, want)
		}
		for _, s := range r.Sources {
			if sources[s.Prefix] != s.Entries {
				t.Errorf("%s: %s has %d, want %d", of.prefix, s.Prefix, s.Entries, sources[s.Prefix])
			}
		}
		if len(r.Sources) != len(sources) {
			t.Errorf("%s: %d sources, want %d", of.prefix, len(r.Sources), len(sources))
		}
	}
}

// Sources are networks of the length that was asked for.
func TestRootSourcesOfOtherLengths(t *testing.T) {
	g := gateway(t)
	mix := []lab.Entries{
		{Count: 2000, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 700},
		{Count: 500, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 3, FirstSource: 4000},
		{Count: 1500, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 600, Family: 6},
	}
	fill(t, g, mix...)
	for _, bits := range [][2]int{{24, 56}, {8, 32}, {32, 128}} {
		want := map[netip.Prefix]int{}
		if err := lab.Each(func(e lab.Entry) {
			length := bits[0]
			if e.Orig.Src.Is6() {
				length = bits[1]
			}
			want[netip.PrefixFrom(e.Orig.Src, length).Masked()]++
		}, mix...); err != nil {
			t.Fatal(err)
		}
		r := take(t, g, census.Options{IPv4Bits: bits[0], IPv6Bits: bits[1]})
		total := 0
		for _, s := range r.Sources {
			if want[s.Prefix] != s.Entries {
				t.Errorf("%s has %d, want %d", s.Prefix, s.Entries, want[s.Prefix])
			}
			total += s.Entries
		}
		if len(r.Sources) != min(len(want), census.Rows) || len(want) <= census.Rows && total != 4000 {
			t.Errorf("by /%d and /%d: %d sources with %d entries, want %d", bits[0], bits[1], len(r.Sources), total, len(want))
		}
	}
	for _, o := range []census.Options{{IPv4Bits: 33}, {IPv6Bits: 129}, {IPv4Bits: -1}, {IPv6Bits: -64}} {
		if r, err := census.Take(t.Context(), o); err == nil {
			t.Errorf("%+v: a census of %d sources", o, len(r.Sources))
		}
	}
}

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

// A resize loses entries: the census begins anew, and gives up when it happens
// again and again. It is noticed on the way, and at the end of a table that is
// read in fewer receives than lie between two looks.
func TestRootResizeIsNoticed(t *testing.T) {
	g := gateway(t)
	sizes, err := lab.ReadSizes()
	if err != nil {
		t.Fatal(err)
	}
	for _, entries := range []int{20_000, 2500} {
		flush(t, g)
		fill(t, g, tcp(lab.Entries{Count: entries, Sources: 50}))
		for _, resizes := range []int{1, 3, 4} {
			r, done, err := disturbed(t, g, sizes.Buckets, resizes)
			if done != resizes {
				t.Fatalf("%d entries: %d of %d resizes, %v", entries, done, resizes, err)
			}
			if resizes < 4 && (err != nil || r.Read != entries || r.Table != entries) {
				t.Errorf("%d resizes: %d of %d read, %v, want %d", resizes, r.Read, r.Table, err, entries)
			}
			if resizes == 4 && (!errors.Is(err, census.ErrResized) || !strings.Contains(err.Error(), strconv.Itoa(sizes.Buckets))) {
				t.Errorf("4 resizes: %v, want ErrResized with the sizes", err)
			}
		}
	}
}

// disturbed takes a census during which the hash table is resized so often, once
// in each attempt.
func disturbed(t *testing.T, g *lab.Gateway, buckets, resizes int) (r census.Report, done int, err error) {
	t.Helper()
	sizes := [2]int{buckets, buckets + 4096}
	defer resize(t, sizes[0])
	// The call after a resize is in the next attempt.
	o := census.Options{Namespace: g.Router.Path(), Progress: func(int, int) {
		if done < resizes {
			done++
			resize(t, sizes[done%2])
		}
	}}
	r, err = census.Take(t.Context(), o)
	return r, done, err
}

// resize writes from a thread of our own namespace: the key is read-only in all
// others.
func resize(t *testing.T, buckets int) {
	t.Helper()
	done := make(chan error)
	go func() { done <- sysctl.Write("net.netfilter.nf_conntrack_buckets", strconv.Itoa(buckets)) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A census that may take a fifth of a CPU takes five times as long as it works.
func TestRootPacing(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 60_000, Sources: 500}))
	fast, slow := take(t, g, census.Options{}), take(t, g, census.Options{CPU: 0.2})
	t.Logf("unpaced: %.3f s of CPU in %.3f s; paced: %.3f in %.3f", fast.CPU, fast.Took, slow.CPU, slow.Took)
	if slow.Took < 4*slow.CPU || slow.CPU < 0.01 {
		t.Errorf("%v s of CPU in %v s", slow.CPU, slow.Took)
	}
	if slow.Read != 60_000 || fast.Read != 60_000 {
		t.Errorf("%d and %d entries", fast.Read, slow.Read)
	}
}

// A census ends with its context, also while it sleeps.
func TestRootEndsWithItsContext(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 60_000, Sources: 500}))
	why := errors.New("no longer wanted")
	for _, share := range []float64{0, 0.001} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		if share == 0 {
			cancel(why)
		}
		begun := time.Now()
		_, err := census.Take(ctx, census.Options{Namespace: g.Router.Path(), CPU: share})
		if !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
			t.Errorf("share %v: %v", share, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("share %v: ended after %s", share, took)
		}
		cancel(nil)
	}
}

// Progress tells how far it is.
func TestRootProgress(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 30_000, Sources: 500}))
	last, calls := 0, 0
	take(t, g, census.Options{Progress: func(read, table int) {
		if read < last || read > table || table != 30_000 {
			t.Errorf("%d of %d, after %d", read, table, last)
		}
		last, calls = read, calls+1
	}})
	if calls < 3 || last < 20_000 {
		t.Errorf("%d calls, the last at %d", calls, last)
	}
}

// Where the kernel's keys are hidden, conntrack looks unloaded.
func TestRootSaysThatConntrackIsAbsent(t *testing.T) {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread's mounts are its own from here on, and it ends
		// with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", "/proc/sys/net/netfilter", "tmpfs", 0, "")
		}
		if err != nil {
			done <- err
			return
		}
		_, err = census.Take(context.Background(), census.Options{})
		if !errors.Is(err, census.ErrAbsent) || !strings.Contains(err.Error(), "conntrack is not loaded") {
			done <- fmt.Errorf("%w, want ErrAbsent", err)
			return
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
