package lab

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// everyKind is a mix that has all that Entries can say.
func everyKind() []Entries {
	tcp := func(e Entries) Entries {
		e.Proto, e.State, e.Assured, e.Timeout = unix.IPPROTO_TCP, Established, true, 400_000*time.Second
		return e
	}
	nat4 := NATPool{First: netip.MustParseAddr("203.0.113.7"), Addresses: 3, Ports: Ports{2000, 2199}}
	nat6 := NATPool{First: netip.MustParseAddr("2001:db8:5::ffff:fffe"), Addresses: 2}
	mix := []Entries{
		tcp(Entries{Count: 501, Sources: 7, Mark: 0xfbc1fbc1, Destinations: 5, Ports: []uint16{443, 80, 22}}),
		tcp(Entries{Count: 502, Sources: 3, FirstSource: 5, SNAT: nat4}),
		tcp(Entries{Count: 503, Sources: 11, Zone: 9, SNAT: nat4, DNAT: netip.MustParseAddr("192.0.2.200"), Destinations: 30}),
		tcp(Entries{Count: 504, Sources: 50, DNAT: netip.MustParseAddr("192.0.2.1"), Destinations: 4, Ports: []uint16{1, 65535}}),
		tcp(Entries{Count: 505, Sources: 60, PerNet: 6, Family: 6}),
		tcp(Entries{Count: 506, Sources: 13, Family: 6, SNAT: nat6, Zone: 65535, Mark: 1}),
		tcp(Entries{Count: 507, Sources: 14, Family: 6, DNAT: netip.MustParseAddr("fd00::1"), Destinations: 3}),
	}
	for state := SynSent; state <= SynSent2; state++ {
		mix = append(mix, Entries{Count: 20, Proto: unix.IPPROTO_TCP, State: state, Replied: state == SynRecv, Timeout: 60 * time.Second})
	}
	for state := SCTPClosed; state <= SCTPHeartbeatSent; state++ {
		mix = append(mix, Entries{Count: 21, Proto: unix.IPPROTO_SCTP, State: state, Timeout: 70 * time.Second, SNAT: nat4})
	}
	return append(mix, children(
		Entries{Count: 307, Proto: unix.IPPROTO_SCTP, State: SCTPEstablished, Timeout: 90 * time.Second, Family: 6, Assured: true},
		Entries{Count: 301, Proto: unix.IPPROTO_UDP, Timeout: 30 * time.Second, Sources: 4, SNAT: nat4},
		Entries{Count: 302, Proto: unix.IPPROTO_UDP, Timeout: 120 * time.Second, Assured: true, Family: 6},
		Entries{Count: 303, Proto: unix.IPPROTO_ICMP, Timeout: 30 * time.Second, Sources: 9},
		Entries{Count: 304, Proto: unix.IPPROTO_ICMP, Timeout: 30 * time.Second, Replied: true, SNAT: nat4},
		Entries{Count: 305, Proto: unix.IPPROTO_ICMPV6, Timeout: 30 * time.Second, Family: 6, Sources: 5, PerNet: 5},
		Entries{Count: 306, Proto: unix.IPPROTO_ICMPV6, Timeout: 30 * time.Second, Family: 6, Replied: true, SNAT: nat6})...)
}

// children are some with a fixed timeout, then some with masters: the first have a
// master each, two of the second share one, all others have the same one.
func children(more ...Entries) []Entries {
	udp := Entries{Count: 50, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Zone: 4, Fixed: true}
	tcp := Entries{Count: 50, Proto: unix.IPPROTO_TCP, State: TimeWait, Timeout: time.Minute, Zone: 4, Master: 1}
	half := tcp
	half.Count, half.Master = 100, 2
	one := Entries{Count: 1, Proto: unix.IPPROTO_TCP, State: Established, Timeout: time.Hour, Family: 6}
	all := Entries{Count: 30, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Family: 6, Fixed: true, Master: 1}
	return append(more, udp, tcp, half, one, all)
}

// Every entry is exactly the one told, in every field, seen through another
// library.
func TestRootFillMakesWhatIsTold(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	mix := everyKind()
	want := map[identity]Entry{}
	// In two fills: the second goes on where the first ended.
	for _, part := range [][]Entries{mix[:4], mix[4:]} {
		r, err := g.Fill(t.Context(), part...)
		if err != nil || len(r.Errors) != 0 {
			t.Fatalf("Fill = %+v, %v", r, err)
		}
	}
	err := Each(func(e Entry) { want[identity{e.Orig, e.Kind.Proto, e.Kind.Zone}] = e }, mix...)
	if err != nil {
		t.Fatal(err)
	}
	got := entries(t, g)
	for _, f := range got {
		id := identity{tupleOf(f.TupleOrig), f.TupleOrig.Proto.Protocol, f.Zone}
		e, known := want[id]
		if !known {
			t.Fatalf("entry %+v was not told", id)
		}
		delete(want, id)
		if problem := differs(f, e); problem != "" {
			t.Fatalf("%+v of %+v: %s", f, *e.Kind, problem)
		}
	}
	if len(want) != 0 || len(got) == 0 {
		t.Errorf("%d entries, %d are missing", len(got), len(want))
	}
}

// An identity is what no two entries share.
type identity struct {
	Tuple
	proto uint8
	zone  uint16
}

func tupleOf(t conntrack.Tuple) Tuple {
	p := t.Proto
	r := Tuple{t.IP.SourceAddress, t.IP.DestinationAddress, p.SourcePort, p.DestinationPort}
	if p.ICMPv4 || p.ICMPv6 {
		r.SrcPort, r.DstPort = p.ICMPID, uint16(p.ICMPType)<<8|uint16(p.ICMPCode)
	}
	return r
}

func stateOf(f conntrack.Flow) uint8 {
	switch {
	case f.ProtoInfo.TCP != nil:
		return f.ProtoInfo.TCP.State
	case f.ProtoInfo.SCTP != nil:
		return f.ProtoInfo.SCTP.State
	}
	return 0
}

// differs says how a flow is not the entry.
func differs(f conntrack.Flow, e Entry) string {
	k := e.Kind
	left, s := time.Duration(f.Timeout)*time.Second, f.Status
	snat, dnat := k.SNAT.First.IsValid(), k.DNAT.IsValid()
	switch {
	case tupleOf(f.TupleReply) != e.Reply:
		return fmt.Sprintf("reply, want %v", e.Reply)
	case f.Mark != k.Mark:
		return "mark"
	case stateOf(f) != k.State:
		return "state"
	case left > k.Timeout || left < k.Timeout-2*time.Second:
		return "timeout"
	case s.SeenReply() != k.Replied || s.Assured() != k.Assured || !s.Confirmed():
		return "status"
	case s.FixedTimeout() != k.Fixed || s.Expected() != (k.Master > 0):
		return "status of a child or of a fixed timeout"
	case tupleOf(f.TupleMaster) != e.Master:
		return fmt.Sprintf("master %v, want %v", tupleOf(f.TupleMaster), e.Master)
	case s.SrcNAT() != snat || s.DstNAT() != dnat || s.SrcNATDone() != (snat || dnat) || s.DstNATDone() != (snat || dnat):
		return "NAT bits of the status"
	}
	return ""
}

// What the kernel refuses is counted with its reason.
func TestRootFillCountsRefusals(t *testing.T) {
	g := newTestGateway(t, Options{})
	lower(t, 1000)
	r, err := g.Fill(t.Context(), Entries{
		Count: 1700, Proto: unix.IPPROTO_TCP, State: Established, Assured: true, Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	// The kernel compares after it has counted the new one.
	if n := mustCount(t, g); n != r.Created || n < 999 || n > 1001 {
		t.Errorf("count is %d, created %d, want both 1000", n, r.Created)
	}
	if got := r.Errors[syscall.ENOMEM]; got != 1700-r.Created || r.Failed["ENOMEM"] != got {
		t.Errorf("errors %v, want the other %d as ENOMEM", r.Failed, 1700-r.Created)
	}
}

func TestRootFillStopsWithItsContext(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := g.Fill(ctx, Entries{Count: 1000, Proto: unix.IPPROTO_UDP, Timeout: time.Minute})
	if err == nil || r.Created != 0 {
		t.Errorf("Fill = %+v, %v, want nothing and an error", r, err)
	}
}

// When all source ports are used up, numbering begins again, and what is still
// there is not made twice.
func TestRootFillGoesRound(t *testing.T) {
	g := newTestGateway(t, Options{})
	holdSizes(t, Sizes{}) // nobody lowers max meanwhile
	e := Entries{Count: tuplePorts - 10, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Destinations: 1}
	first, err := g.Fill(t.Context(), e)
	if err != nil || first.Created != e.Count {
		t.Fatalf("%+v, %v, want %d", first, err, e.Count)
	}
	e.Count = 25
	second, err := g.Fill(t.Context(), e)
	if err != nil || second.Created != 10 || second.Errors[syscall.EEXIST] != 15 {
		t.Errorf("%+v, %v, want 10 new and 15 that exist", second, err)
	}
}

// A walk frees what has expired, long before gc does.
func TestRootReapFreesTheExpired(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	_, err := g.Fill(t.Context(),
		Entries{Count: 500, Proto: unix.IPPROTO_UDP, Timeout: time.Second},
		Entries{Count: 300, Proto: unix.IPPROTO_UDP, Timeout: time.Minute, Family: 6})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := g.Reap(t.Context()); err != nil || n != 800 {
		t.Errorf("Reap = %d, %v, want 800", n, err)
	}
	time.Sleep(1500 * time.Millisecond)
	if n, err := g.Reap(t.Context()); err != nil || n != 300 {
		t.Errorf("after a second Reap = %d, %v, want 300", n, err)
	}
	if n := mustCount(t, g); n != 300 {
		t.Errorf("count is %d, want 300", n)
	}
}
