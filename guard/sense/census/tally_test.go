package census

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// defaults are the timeouts of a fresh kernel.
func defaults() timeout.Table {
	t := timeout.Table{MaxRetrans: 300}
	for c, seconds := range map[timeout.Class]int{
		timeout.TCPSynSent: 120, timeout.TCPSynRecv: 60, timeout.TCPEstablished: 432000, timeout.TCPFinWait: 120,
		timeout.TCPCloseWait: 60, timeout.TCPLastAck: 30, timeout.TCPTimeWait: 120, timeout.TCPClose: 10,
		timeout.Unacknowledged: 300, timeout.UDP: 30, timeout.UDPStream: 120, timeout.ICMP: 30, timeout.ICMPv6: 30,
		timeout.GRE: 30, timeout.GREStream: 180, timeout.SCTPEstablished: 210,
		timeout.Generic: 600,
	} {
		t.Of[c] = seconds
	}
	return t
}

// count takes a full census of entries.
func count(entries []ctnetlink.Entry, t timeout.Table) Report {
	tally := newTally(t)
	for i := range entries {
		tally.add(&entries[i])
	}
	var r Report
	tally.fill(&r, scale{len(entries), len(entries)})
	return r
}

// tableOf counts entries by what a function says of them, in the plainest way.
func tableOf[K comparable](entries []ctnetlink.Entry, key func(*ctnetlink.Entry) (K, bool)) map[K]int {
	counts := map[K]int{}
	for i := range entries {
		if k, ok := key(&entries[i]); ok {
			counts[k]++
		}
	}
	return counts
}

// addresses compares what cmp can't look into.
var addresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// exactly is the figure of n entries of a table.
func exactly(n, table int) Figure { return Figure{n, n, n, float64(n) / float64(table)} }

// Every figure of a full census is the true one as long as no sketch overflows.
func TestFullCensusIsExact(t *testing.T) {
	entries := traffic(7, 9000)
	r := count(entries, defaults())
	if r.Read != 9000 || r.Table != 9000 || !r.Full {
		t.Errorf("read %d of %d, full %t", r.Read, r.Table, r.Full)
	}
	status := func(bits, want uint32) func(*ctnetlink.Entry) bool {
		return func(e *ctnetlink.Entry) bool { return e.Status&bits == want }
	}
	state := func(states ...uint8) func(*ctnetlink.Entry) bool {
		return func(e *ctnetlink.Entry) bool {
			return e.Proto == unix.IPPROTO_TCP && slices.Contains(states, e.TCPState)
		}
	}
	for _, of := range []struct {
		name string
		got  Figure
		is   func(*ctnetlink.Entry) bool
	}{
		{"assured", r.Assured, status(ctnetlink.StatusAssured, ctnetlink.StatusAssured)},
		{"unreplied", r.Unreplied, status(ctnetlink.StatusSeenReply, 0)},
		{"snat", r.SNAT, status(ctnetlink.StatusSrcNAT, ctnetlink.StatusSrcNAT)},
		{"dnat", r.DNAT, status(ctnetlink.StatusDstNAT, ctnetlink.StatusDstNAT)},
		{"offloaded", r.Offloaded, func(e *ctnetlink.Entry) bool { return e.Offloaded }},
		{"ipv6", r.IPv6, func(e *ctnetlink.Entry) bool { return e.Family == unix.AF_INET6 }},
		{"closing", r.Closing, state(4, 5, 6, 7, 8)},
		{"opening", r.Opening, state(1, 2, 9)},
		{"dead UDP", r.DeadUDP, deadUDPs},
		{"idle", r.Idle, idles},
	} {
		n := tableOf(entries, func(e *ctnetlink.Entry) (bool, bool) { return true, of.is(e) })[true]
		if n == 0 || of.got != exactly(n, 9000) {
			t.Errorf("%s: %+v, want %d", of.name, of.got, n)
		}
	}
}

// deadUDPs says in seconds what DeadUDP counts: 10 of 30, or 10 of 120.
func deadUDPs(e *ctnetlink.Entry) bool {
	if e.Proto != unix.IPPROTO_UDP || e.Offloaded || e.Status&ctnetlink.StatusFixedTimeout != 0 {
		return false
	}
	if e.Status&ctnetlink.StatusAssured != 0 {
		return e.Timeout <= 110
	}
	return e.Timeout <= 20
}

// idles says in seconds what Idle counts: 7,440 of 432,000, unless it may be one
// of those that have 300.
func idles(e *ctnetlink.Entry) bool {
	return e.Proto == unix.IPPROTO_TCP && e.TCPState == ctnetlink.TCPEstablished && !e.Offloaded &&
		e.Status&ctnetlink.StatusFixedTimeout == 0 && e.Status&ctnetlink.StatusSeenReply != 0 &&
		e.Timeout <= 424560 && e.Timeout > 300
}

// lists flattens the lists of a report.
func lists(r *Report) map[string]Figure {
	flat := map[string]Figure{}
	for _, s := range r.Sources {
		flat["source "+s.Prefix.String()] = s.Figure
	}
	for _, d := range r.Destinations {
		flat["destination "+d.Addr.String()] = d.Figure
	}
	for _, s := range r.Services {
		flat[fmt.Sprint("service ", s.Addr, s.Port, s.Proto)] = s.Figure
	}
	for _, p := range r.Pools {
		flat[fmt.Sprint("pool ", p.NAT, p.Dst, p.Port, p.Proto, p.Zone)] = p.Figure
	}
	for _, n := range r.Protocols {
		flat["protocol "+n.Name] = n.Figure
	}
	for _, n := range r.States {
		flat["state "+n.Name] = n.Figure
	}
	for _, z := range r.Zones {
		flat[fmt.Sprint("zone ", z.Zone)] = z.Figure
	}
	for _, c := range r.Classes {
		flat["class "+c.Name] = c.Figure
	}
	return flat
}

// rowsOf are the rows that an entry counts in.
func rowsOf(e *ctnetlink.Entry) []string {
	proto := map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 89: "ospf", 132: "sctp"}[e.Proto]
	bits, port := 32, e.Orig.DstPort
	if e.Family == unix.AF_INET6 {
		bits = 64
	}
	ported := proto == "tcp" || proto == "udp" || proto == "sctp"
	if proto == "gre" {
		port = 0
	}
	in := []string{
		"source " + netip.PrefixFrom(e.Orig.Src.Netip(), bits).Masked().String(),
		"destination " + e.Orig.Dst.Netip().String(),
		fmt.Sprint("service ", e.Orig.Dst.Netip(), port, proto),
		"protocol " + proto,
		fmt.Sprint("zone ", e.Zone),
	}
	if ported && e.Status&ctnetlink.StatusSrcNAT != 0 {
		in = append(in, fmt.Sprint("pool ", e.Reply.Dst.Netip(), e.Reply.Src.Netip(), e.Reply.SrcPort, proto, e.ReplyZone))
	}
	if proto == "tcp" {
		in = append(in, "state "+stateName(e.TCPState))
	}
	return in
}

// Every list has the largest rows there are, and they are right.
func TestListsAreExact(t *testing.T) {
	entries := traffic(8, 9000)
	truth := map[string]int{}
	for i := range entries {
		for _, row := range rowsOf(&entries[i]) {
			truth[row]++
		}
	}
	r := count(entries, defaults())
	listed, smallest := map[string]int{}, map[string]int{}
	for row, figure := range lists(&r) {
		kind, _, _ := strings.Cut(row, " ")
		if kind == "class" {
			continue
		}
		if figure != exactly(truth[row], 9000) {
			t.Errorf("%s: %+v, want %d", row, figure, truth[row])
		}
		if listed[kind]++; listed[kind] == 1 || figure.Entries < smallest[kind] {
			smallest[kind] = figure.Entries
		}
		delete(truth, row)
	}
	for row, n := range truth {
		kind, _, _ := strings.Cut(row, " ")
		if listed[kind] < rows || n > smallest[kind] {
			t.Errorf("%s with %d is not among the %d rows down to %d", row, n, listed[kind], smallest[kind])
		}
	}
	if len(listed) != 7 || listed["pool"] != rows || listed["zone"] >= rows {
		t.Errorf("rows: %v, this shows little", listed)
	}
}

// Rows come largest first and never more than a hundred; equal ones always in
// the same order, whatever the seed.
func TestListsAreCutAndStable(t *testing.T) {
	entries := traffic(9, 30_000)
	for i := range entries[:20_000] {
		scatter(&entries[i], uint32(i/2))
	}
	first := count(entries, defaults())
	for name, n := range map[string]int{
		"sources": len(first.Sources), "destinations": len(first.Destinations),
		"services": len(first.Services), "pools": len(first.Pools),
	} {
		if n != rows {
			t.Errorf("%d %s", n, name)
		}
	}
	if !slices.IsSortedFunc(first.Sources, func(a, b Source) int { return b.Entries - a.Entries }) {
		t.Error("sources are not sorted")
	}
	truth := tableOf(entries, func(e *ctnetlink.Entry) (string, bool) { return rowsOf(e)[0], true })
	sizes := []int{}
	for _, n := range truth {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	if last := first.Sources[rows-1]; last.High < sizes[len(sizes)-rows] {
		t.Errorf("the last source has %+v, the hundredth %d", last, sizes[len(sizes)-rows])
	}
	for range 5 {
		if diff := cmp.Diff(first, count(entries, defaults()), addresses); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Sources are counted by the network that they are in, whatever its length.
func TestSourcesByNetwork(t *testing.T) {
	entries := traffic(13, 9000)
	for _, bits := range [][2]int{{32, 64}, {24, 56}, {1, 1}, {31, 127}, {32, 128}} {
		truth := tableOf(entries, func(e *ctnetlink.Entry) (netip.Prefix, bool) {
			length := bits[0]
			if e.Family == unix.AF_INET6 {
				length = bits[1]
			}
			return netip.PrefixFrom(e.Orig.Src.Netip(), length).Masked(), true
		})
		tally := newTally(defaults())
		tally.networks = newNetworks(bits[0], bits[1])
		for i := range entries {
			tally.add(&entries[i])
		}
		var r Report
		tally.fill(&r, scale{len(entries), len(entries)})
		if len(r.Sources) != min(len(truth), rows) || [2]int{r.IPv4Bits, r.IPv6Bits} != bits {
			t.Errorf("%v: %d sources of %d, by /%d and /%d", bits, len(r.Sources), len(truth), r.IPv4Bits, r.IPv6Bits)
		}
		for _, s := range r.Sources {
			if s.Figure != exactly(truth[s.Prefix], len(entries)) {
				t.Errorf("%v: %s has %d, want %d", bits, s.Prefix, s.Entries, truth[s.Prefix])
			}
		}
	}
}

// nat is a translated entry.
func nat(proto uint8, to string, port, source uint16) ctnetlink.Entry {
	e := ctnetlink.Entry{Family: unix.AF_INET, Proto: proto, Status: ctnetlink.StatusSrcNAT}
	e.Reply = ctnetlink.Tuple{Src: netip.MustParseAddr(to).As16(), Dst: ipv4(192 << 24), SrcPort: port, DstPort: source}
	return e
}

// A pool is what the reply says: NAT of the destination does not matter, TCP and
// UDP are apart, and ICMP has no ports.
func TestPools(t *testing.T) {
	entries := []ctnetlink.Entry{
		nat(unix.IPPROTO_TCP, "198.51.100.1", 443, 5000),
		nat(unix.IPPROTO_TCP, "198.51.100.1", 443, 1024),
		nat(unix.IPPROTO_TCP, "198.51.100.1", 443, 65535),
		nat(unix.IPPROTO_UDP, "198.51.100.1", 443, 700),
		nat(unix.IPPROTO_UDP, "198.51.100.1", 443, 701),
		nat(unix.IPPROTO_TCP, "198.51.100.2", 443, 9),
		nat(unix.IPPROTO_ICMP, "198.51.100.1", 0, 9),
		nat(unix.IPPROTO_GRE, "198.51.100.1", 1, 9),
	}
	other := nat(unix.IPPROTO_TCP, "198.51.100.1", 443, 9)
	other.Zone, other.ReplyZone = 7, 7
	oneWay := nat(unix.IPPROTO_TCP, "198.51.100.1", 443, 1025) // ct zone original set: replies come to zone 0
	oneWay.Zone = 8
	plain := nat(unix.IPPROTO_TCP, "198.51.100.1", 443, 9)
	plain.Status = ctnetlink.StatusDstNAT
	entries = append(entries, other, oneWay, plain)
	r := count(entries, defaults())
	address, one, two := netip.MustParseAddr("192.0.0.0"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	want := []Pool{
		{address, one, 443, "tcp", 0, 1024, 65535, 64512, exactly(4, 11)},
		{address, one, 443, "udp", 0, 700, 701, 64512, exactly(2, 11)},
		{address, one, 443, "tcp", 7, 9, 9, 64512, exactly(1, 11)},
		{address, two, 443, "tcp", 0, 9, 9, 64512, exactly(1, 11)},
	}
	if diff := cmp.Diff(want, r.Pools, addresses); diff != "" {
		t.Error(diff)
	}
}

func TestTallyForgets(t *testing.T) {
	tally := newTally(defaults())
	for _, e := range traffic(3, 30_000) {
		tally.add(&e)
	}
	tally.reset()
	var r Report
	tally.fill(&r, scale{tally.read, tally.read})
	if diff := cmp.Diff(count(nil, defaults()), r); diff != "" {
		t.Error(diff)
	}
}

// Whoever reads the JSON has no null among the lists to reckon with.
func TestEmptyListsAreLists(t *testing.T) {
	r := count(nil, defaults())
	if !r.Full || r.Read != 0 {
		t.Errorf("%+v", r)
	}
	text, err := json.Marshal(r)
	if err != nil || strings.Contains(string(text), "null") || strings.Count(string(text), ":[]") != 8 {
		t.Errorf("%s, %v", text, err)
	}
}

func TestTallyAllocatesNothing(t *testing.T) {
	tally := newTally(defaults())
	entries := traffic(4, 20_000)
	i := 0
	if n := testing.AllocsPerRun(len(entries)-1, func() { tally.add(&entries[i]); i++ }); n != 0 {
		t.Errorf("%v allocations per entry", n)
	}
}
