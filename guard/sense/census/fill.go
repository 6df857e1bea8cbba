package census

import (
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// naturalPorts is how many source ports a pool has that no rule gives a range:
// 1024 to 65535 (nf_nat_l4proto_unique_tuple).
const naturalPorts = 64512

// fill writes what was counted into a report, as figures of that scale.
func (t *tally) fill(r *Report, s scale) {
	r.Read, r.Table, r.Full = s.read, s.table, s.read == s.table
	r.IPv4Bits, r.IPv6Bits = t.networks.ipv4, t.networks.ipv6
	t.fillKinds(r, s)
	t.fillLists(r, s)
	r.Protocols = named(s, t.protocols[:], ProtocolName)
	r.States = named(s, t.states[:], stateName)
	r.Zones = t.zoneRows(s)
	r.Classes = t.classes(s)
}

func (t *tally) fillKinds(r *Report, s scale) {
	with := func(bit uint32) (n int) {
		for kind, entries := range t.kinds {
			if uint32(kind)&bit != 0 {
				n += int(entries)
			}
		}
		return n
	}
	r.Assured = s.figure(with(isAssured), 0)
	r.Unreplied = s.figure(t.read-with(seenReply), 0)
	r.SNAT = s.figure(with(isSourced), 0)
	r.DNAT = s.figure(with(isDirected), 0)
	r.Offloaded = s.figure(int(t.offloaded), 0)
	r.IPv6 = s.figure(int(t.ipv6), 0)

	in := func(states ...uint8) (n int) {
		for _, state := range states {
			n += int(t.states[state])
		}
		return n
	}
	r.Closing = s.figure(in(ctnetlink.TCPFinWait, ctnetlink.TCPCloseWait, ctnetlink.TCPLastAck,
		ctnetlink.TCPTimeWait, ctnetlink.TCPClose), 0)
	r.Opening = s.figure(in(ctnetlink.TCPSynSent, ctnetlink.TCPSynRecv, ctnetlink.TCPSynSent2), 0)
	r.DeadUDP = s.figure(int(t.silent[timeout.UDP]+t.silent[timeout.UDPStream]), 0)
	r.Idle = s.figure(int(t.silent[timeout.TCPEstablished]), 0)
}

func (t *tally) fillLists(r *Report, s scale) {
	t.settle()
	r.Sources, r.Destinations, r.Services, r.Pools = []Source{}, []Address{}, []Service{}, []Pool{}
	for _, at := range top(t.sources) {
		r.Sources = append(r.Sources, Source{t.networks.prefix(at.key), figureOf(s, t.sources, at)})
	}
	for _, at := range top(t.destinations) {
		r.Destinations = append(r.Destinations, Address{at.key.Netip(), figureOf(s, t.destinations, at)})
	}
	for _, at := range top(t.services) {
		r.Services = append(r.Services, Service{
			Addr: at.key.dst.Netip(), Port: at.key.port, Proto: ProtocolName(uint8(at.key.proto)),
			Figure: figureOf(s, t.services, at),
		})
	}
	for _, at := range top(t.pools) {
		r.Pools = append(r.Pools, Pool{
			NAT: at.key.nat.Netip(), Dst: at.key.dst.Netip(), Port: at.key.port,
			Proto: ProtocolName(uint8(at.key.proto)), Zone: at.key.zone,
			Lowest: at.ports.lowest, Highest: at.ports.highest, Ports: naturalPorts,
			Figure: figureOf(s, t.pools, at),
		})
	}
}

// figureOf is the figure of a key that a sketch has counted.
func figureOf[K comparable](s scale, of *sketch[K], at counted[K]) Figure {
	return s.listed(int(at.count), int(of.offset))
}

// named are the rows of what is counted by number, without empty ones.
func named(s scale, counts []uint32, name func(uint8) string) []Named {
	list := []Named{}
	for number, n := range counts {
		if n > 0 {
			list = append(list, Named{name(uint8(number)), s.figure(int(n), 0)})
		}
	}
	slices.SortStableFunc(list, func(a, b Named) int { return byEntries(a.Figure, b.Figure) })
	return list[:min(len(list), rows)]
}

func (t *tally) zoneRows(s scale) []Zone {
	list := []Zone{}
	for zone, n := range t.zones {
		if n > 0 {
			list = append(list, Zone{uint16(zone), s.listed(int(n), 0)})
		}
	}
	slices.SortStableFunc(list, func(a, b Zone) int { return byEntries(a.Figure, b.Figure) })
	return list[:min(len(list), rows)]
}
