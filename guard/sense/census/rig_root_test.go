package census_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
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
