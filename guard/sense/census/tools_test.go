package census_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// What conntrack-tools say of a quiet table is what a walk says of each entry,
// field by field, and what a census counts.
func TestRootAgreesWithConntrackTools(t *testing.T) {
	g := gateway(t)
	fill(t, g, lasting()...)
	for _, words := range []string{
		"-p udp -s 10.9.0.1 -d 192.0.2.1 --sport 1000 --dport 53 --orig-zone 5",
		"-p udp -s 10.9.0.2 -d 192.0.2.1 --sport 1000 --dport 53 --reply-zone 6",
		"-p udp -s 10.9.0.3 -d 192.0.2.1 --sport 1000 --dport 53 --orig-zone 5 --src-nat 203.0.113.9:2000",
		"-p tcp -s 10.9.0.3 -d 192.0.2.1 --sport 1000 --dport 443 --state CLOSE_WAIT --src-nat 203.0.113.9:2000 --dst-nat 192.0.2.2:8443",
		"-p sctp -s 10.9.0.3 -d 192.0.2.1 --sport 1000 --dport 53 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2",
		"-p udplite -s 10.9.0.3 -d 192.0.2.1 --sport 1000 --dport 53",
		"-p gre -s 10.9.0.3 -d 192.0.2.1 --srckey 1 --dstkey 2",
		"-p 89 -s 10.9.0.3 -d 192.0.2.1",
	} {
		conntrackTool(t, g, "-I "+words+" --timeout 9000")
	}
	told := append(listed(t, g, "ipv4"), listed(t, g, "ipv6")...)
	compareEntries(t, told, walked(t, g))
	r := take(t, g, census.Options{})
	compareRows(t, told, &r)
}

// lasting is known with marks, and without timeouts that may be over before
// everybody has read the table.
func lasting() []lab.Entries {
	mix := append(known(),
		lab.Entries{Count: 151, Proto: unix.IPPROTO_UDP, Mark: 0x80000001, Zone: 65535, Sources: 3},
		lab.Entries{Count: 152, Proto: unix.IPPROTO_ICMPV6, Mark: 7, Family: 6, Replied: true},
	)
	for i := range mix {
		mix[i].Timeout += 10_000 * time.Second
	}
	return mix
}

// conntrackTool runs conntrack(8) in a gateway's namespace and returns what it
// prints.
func conntrackTool(t *testing.T, g *lab.Gateway, arguments string) string {
	t.Helper()
	path, err := exec.LookPath("conntrack")
	if err != nil { // it is for root, whose PATH sudo may have been told to leave alone
		path, err = exec.LookPath("/usr/sbin/conntrack")
	}
	if err != nil {
		t.Fatalf("%v: this test compares with conntrack-tools (apt-get install conntrack)", err)
	}
	var out, errs bytes.Buffer
	if err := g.Router.Do(func() error {
		cmd := exec.CommandContext(t.Context(), path, strings.Fields(arguments)...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		return cmd.Run()
	}); err != nil {
		t.Fatalf("conntrack %s: %v: %s", arguments, err, errs.String())
	}
	return out.String()
}

// listed is what conntrack -L lists of a family. Status is no more than the two
// bits that it names.
func listed(t *testing.T, g *lab.Gateway, family string) (list []ctnetlink.Entry) {
	t.Helper()
	for line := range strings.Lines(conntrackTool(t, g, "-L -o extended,id -f "+family)) {
		e, err := parseListed(strings.Fields(line))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, e)
	}
	return list
}

// parseListed parses a line such as
//
//	ipv4 2 tcp 6 299 CLOSE_WAIT src=10.0.0.1 dst=192.0.2.1 sport=1000 dport=443 [UNREPLIED] src=... mark=0 zone=7 use=1 id=17
//
// where the state is only there for some protocols, a bracket only if it is so,
// and the last id is the entry's, not that of an ICMP tuple.
func parseListed(words []string) (e ctnetlink.Entry, err error) {
	if len(words) < 8 {
		return e, fmt.Errorf("%d words", len(words))
	}
	number := func(text string, bits int) uint64 {
		n, e := strconv.ParseUint(text, 0, bits)
		if e != nil && err == nil {
			err = e
		}
		return n
	}
	last := len(words) - 1
	id, found := strings.CutPrefix(words[last], "id=")
	if !found {
		return e, fmt.Errorf("no id at the end")
	}
	e.ID = uint32(number(id, 32))
	e.Family, e.Proto, e.Timeout = uint8(number(words[1], 8)), uint8(number(words[3], 8)), uint32(number(words[4], 32))
	e.Status = ctnetlink.StatusSeenReply
	var way *ctnetlink.Tuple
	for _, word := range words[5:last] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "src":
			if way = &e.Orig; e.Orig.Src != (ctnetlink.Addr{}) {
				way = &e.Reply
			}
			way.Src = netip.MustParseAddr(value).As16()
		case "dst":
			way.Dst = netip.MustParseAddr(value).As16()
		case "sport", "srckey", "id":
			way.SrcPort = uint16(number(value, 16))
		case "dport", "dstkey":
			way.DstPort = uint16(number(value, 16))
		case "type":
			way.DstPort |= uint16(number(value, 8)) << 8
		case "code":
			way.DstPort |= uint16(number(value, 8))
		case "mark":
			e.Mark = uint32(number(value, 32))
		case "zone", "zone-orig", "zone-reply":
			e.Zone = uint16(number(value, 16))
			if key != "zone-orig" {
				e.ReplyZone = e.Zone
			}
			if key != "zone-reply" {
				e.OrigZone = e.Zone
			}
		case "[UNREPLIED]":
			e.Status &^= ctnetlink.StatusSeenReply
		case "[ASSURED]":
			e.Status |= ctnetlink.StatusAssured
		case "use":
			e.Use = uint32(number(value, 32))
		default:
			names, of := states, &e.TCPState
			if e.Proto == unix.IPPROTO_SCTP {
				names, of = sctpStates, &e.SCTPState
			}
			state := slices.Index(names, word)
			if state < 0 {
				return e, fmt.Errorf("what is %q?", word)
			}
			*of = uint8(state)
		}
	}
	return e, err
}

var sctpStates = strings.Fields("NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD SHUTDOWN_ACK_SENT HEARTBEAT_SENT")

// walked is a walk of a gateway's table.
func walked(t *testing.T, g *lab.Gateway) (list []ctnetlink.Entry) {
	t.Helper()
	if err := g.Router.Do(func() error {
		c, err := ctnetlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Walk(t.Context(), ctnetlink.Query{}, func(e *ctnetlink.Entry) bool { list = append(list, *e); return true }, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// compareEntries compares what conntrack told with what a walk found: later, so
// that some seconds may have passed.
func compareEntries(t *testing.T, told, found []ctnetlink.Entry) {
	t.Helper()
	if len(told) < 4000 || len(found) != len(told) {
		t.Errorf("%d entries, conntrack has %d", len(found), len(told))
	}
	byID := map[uint32]ctnetlink.Entry{}
	for _, e := range found {
		byID[e.ID] = e
	}
	for _, want := range told {
		got, there := byID[want.ID]
		if !there {
			t.Errorf("missing: %+v", want)
			continue
		}
		delete(byID, want.ID)
		if passed := int64(want.Timeout) - int64(got.Timeout); passed < 0 || passed > 2 {
			t.Errorf("%d: %d seconds left, conntrack has %d", want.ID, got.Timeout, want.Timeout)
		}
		got.Timeout = want.Timeout
		got.Status &= ctnetlink.StatusSeenReply | ctnetlink.StatusAssured
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-conntrack +walk:\n%s", diff)
		}
	}
	if len(byID) > 0 {
		t.Errorf("conntrack lacks %v", byID)
	}
}

// compareRows compares all rows of a full census with the same counted from what
// conntrack told.
func compareRows(t *testing.T, told []ctnetlink.Entry, r *census.Report) {
	t.Helper()
	if !r.Full || r.Table != len(told) {
		t.Errorf("full %t, %d entries, conntrack has %d", r.Full, r.Table, len(told))
	}
	want := map[string]int{}
	for i := range told {
		countRows(&told[i], want)
	}
	got := map[string]int{}
	forRows(r, func(name string, f census.Figure) {
		if f.Low != f.Entries || f.High != f.Entries {
			t.Errorf("%s: %+v", name, f)
		}
		if f.Entries > 0 {
			got[name] = f.Entries
		}
	})
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 80 {
		t.Errorf("%d rows, -conntrack +census:\n%s", len(want), diff)
	}
}

// forRows calls each with every figure of a report but those of timeouts.
func forRows(r *census.Report, each func(name string, f census.Figure)) {
	for name, f := range map[string]census.Figure{
		"assured": r.Assured, "unreplied": r.Unreplied, "snat": r.SNAT, "dnat": r.DNAT, "ipv6": r.IPv6,
		"offloaded": r.Offloaded, "closing": r.Closing, "opening": r.Opening,
	} {
		each(name, f)
	}
	for _, s := range r.Sources {
		each(fmt.Sprint("source ", s.Prefix), s.Figure)
	}
	for _, d := range r.Destinations {
		each(fmt.Sprint("destination ", d.Addr), d.Figure)
	}
	for _, s := range r.Services {
		each(fmt.Sprint("service ", s.Addr, " ", s.Port, " ", s.Proto), s.Figure)
	}
	for _, p := range r.Pools {
		each(fmt.Sprint("pool ", p.NAT, " ", p.Dst, " ", p.Port, " ", p.Proto, " zone ", p.Zone), p.Figure)
	}
	for _, p := range r.Protocols {
		each("protocol "+p.Name, p.Figure)
	}
	for _, s := range r.States {
		each("state "+s.Name, s.Figure)
	}
	for _, z := range r.Zones {
		each(fmt.Sprint("zone ", z.Zone), z.Figure)
	}
}

// protocols are those of the table that conntrack lists.
var protocols = map[uint8]string{
	unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_GRE: "gre",
	unix.IPPROTO_ICMPV6: "icmpv6", 89: "ospf", unix.IPPROTO_SCTP: "sctp", unix.IPPROTO_UDPLITE: "udplite",
}

// countRows counts an entry in the rows that it belongs to. That it is translated
// shows where the reply is not the original turned round.
func countRows(e *ctnetlink.Entry, rows map[string]int) {
	proto, bits, port := protocols[e.Proto], 32, e.Orig.DstPort
	if e.Family == unix.AF_INET6 {
		bits = 64
		rows["ipv6"]++
	}
	ported := e.Proto == unix.IPPROTO_TCP || e.Proto == unix.IPPROTO_UDP || e.Proto == unix.IPPROTO_SCTP || e.Proto == unix.IPPROTO_UDPLITE
	if e.Proto == unix.IPPROTO_GRE {
		port = 0
	}
	source, _ := e.Orig.Src.Netip().Prefix(bits)
	for _, name := range []string{
		fmt.Sprint("source ", source), fmt.Sprint("destination ", e.Orig.Dst.Netip()), "protocol " + proto,
		fmt.Sprint("service ", e.Orig.Dst.Netip(), " ", port, " ", proto), fmt.Sprint("zone ", e.Zone),
	} {
		rows[name]++
	}
	if e.Status&ctnetlink.StatusAssured != 0 {
		rows["assured"]++
	}
	if e.Status&ctnetlink.StatusSeenReply == 0 {
		rows["unreplied"]++
	}
	if e.Reply.Src != e.Orig.Dst || ported && e.Reply.SrcPort != e.Orig.DstPort {
		rows["dnat"]++
	}
	if e.Reply.Dst != e.Orig.Src || ported && e.Reply.DstPort != e.Orig.SrcPort {
		rows["snat"]++
		if ported {
			rows[fmt.Sprint("pool ", e.Reply.Dst.Netip(), " ", e.Reply.Src.Netip(), " ", e.Reply.SrcPort, " ", proto, " zone ", e.ReplyZone)]++
		}
	}
	if e.Proto == unix.IPPROTO_TCP {
		rows["state "+states[e.TCPState]]++
		switch e.TCPState {
		case lab.SynSent, lab.SynRecv, lab.SynSent2:
			rows["opening"]++
		case lab.FinWait, lab.CloseWait, lab.LastAck, lab.TimeWait, lab.Closed:
			rows["closing"]++
		}
	}
}
