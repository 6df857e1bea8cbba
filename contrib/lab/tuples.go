package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Flows of a flood are numbered through source port and destination: firstPort
// and up, then the next destination. So each has a tuple of its own even after
// masquerading, which keeps the source port when it can. Entries of a fill take
// their source ports from the same range.
const (
	firstPort  = 1024
	tuplePorts = 60_000
)

// A Tuple is one direction of an entry. ICMP has its id as source port and type
// << 8 | code as destination port, in both directions.
type Tuple struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
}

// An Entry is one entry of a mix, as Fill makes it.
type Entry struct {
	Kind        *Entries // what it is like, with defaults filled in
	Orig, Reply Tuple
	Master      Tuple // the original direction of its master; the zero value is none
}

// An echo is the types of an echo request and of its reply.
type echo struct{ ask, answer uint8 }

func (e Entries) isICMP() bool {
	return e.Proto == unix.IPPROTO_ICMP || e.Proto == unix.IPPROTO_ICMPV6
}

func (e Entries) echo() echo {
	if e.Family == 6 {
		return echo{128, 129} // RFC 4443
	}
	return echo{8, 0} // RFC 792
}

func (e echo) request() uint16 { return uint16(e.ask) << 8 }

func (e echo) reply() uint16 { return uint16(e.answer) << 8 }

// A numbering is where fills have come to. What one fill used is not used by the
// next until all is used up.
type numbering struct {
	port  int // source ports
	place int // places of NAT pools
}

// takeAll resolves and numbers a mix and moves on, unless something of it can't be
// made.
func (n *numbering) takeAll(mix []Entries) ([]numbered, error) {
	all := make([]numbered, len(mix))
	where := *n
	for i, e := range mix {
		e, err := e.resolved()
		if err != nil {
			return nil, err
		}
		all[i] = where.take(&e)
		if e.Master == 0 {
			continue
		}
		if e.Master <= i {
			all[i].masters = &all[i-e.Master]
		}
		if err := e.checkMasters(all[i].kindOfMasters()); err != nil {
			return nil, err
		}
	}
	*n = where
	return all, nil
}

// take numbers resolved entries and moves on.
func (n *numbering) take(e *Entries) numbered {
	at := numbered{Entries: e, first: *n, cycle: lcm(e.Sources, e.services())}
	n.port += e.turns()
	if e.SNAT.translates() {
		n.place += e.perService()
	}
	return at
}

// numbered are resolved entries in their place.
type numbered struct {
	*Entries
	first numbering
	cycle uint64 // entries after which the same source meets the same service

	masters *numbered // nil: these are nobody's children
}

func (n numbered) kindOfMasters() *Entries {
	if n.masters == nil {
		return nil
	}
	return n.masters.Entries
}

// at is the i-th entry. Source and service both go round, and each cycle shifts
// one against the other by one, so all pairs come up before one repeats; the
// source port numbers the repetitions. Any services() entries in a row that
// begin at a multiple of it have one of each.
func (n numbered) at(i int) Entry {
	services := n.services()
	source := i % n.Sources
	service := int((uint64(i) + uint64(i)/n.cycle) % uint64(services))
	turn := i / services / n.Sources
	destination := service % n.Destinations
	orig := Tuple{
		Src:     n.source(n.FirstSource + source),
		Dst:     n.destination(destination),
		DstPort: n.Ports[service/n.Destinations],
	}
	orig.SrcPort = firstPort + uint16((n.first.port+turn+spread(destination, orig.DstPort))%tuplePorts)
	reply := n.mirrored(orig)
	if n.DNAT.IsValid() {
		reply.Src = plus(n.DNAT, uint32(destination))
	}
	if n.SNAT.translates() {
		n.translate(&reply, n.first.place+i/services)
	}
	e := Entry{Kind: n.Entries, Orig: orig, Reply: reply}
	if n.masters != nil {
		e.Master = n.masters.at(i % n.masters.Count).Orig
	}
	return e
}

// spread gives each service source ports of its own, as far as they go. The kernel
// looks through all entries of a source and port for each one to be translated
// (find_appropriate_src), which with one port for all services takes most of the
// time. It depends on nothing but the service, so no two fills can collide by it.
func spread(destination int, port uint16) int { return destination*7919 + int(port)*31 }

// translate gives a reply the i-th place of the pool.
func (n numbered) translate(reply *Tuple, i int) {
	pool := n.SNAT
	reply.Dst = plus(pool.First, uint32(i%pool.Addresses))
	port := pool.Ports.First + uint16(i/pool.Addresses%pool.Ports.count())
	if n.isICMP() {
		reply.SrcPort = port
	} else {
		reply.DstPort = port
	}
}

// mirrored is the reply to an entry without translation.
func (e Entries) mirrored(o Tuple) Tuple {
	r := Tuple{Src: o.Dst, Dst: o.Src, SrcPort: o.DstPort, DstPort: o.SrcPort}
	if e.isICMP() {
		r.SrcPort, r.DstPort = o.SrcPort, e.echo().reply()
	}
	return r
}

// source is the address with a number: of fillNet, or of a /64 of fillNet6.
func (e Entries) source(n int) netip.Addr {
	if e.Family == 4 {
		return plus(fillNet.Addr(), uint32(n))
	}
	a := fillNet6.Addr().As16()
	binary.BigEndian.PutUint32(a[4:], uint32(n/e.PerNet))
	binary.BigEndian.PutUint32(a[12:], uint32(n%e.PerNet)+1)
	return netip.AddrFrom16(a)
}

func (e Entries) destination(n int) netip.Addr {
	if e.Family == 4 {
		return plus(fillDst.Addr(), uint32(n))
	}
	return plus(fillDst6.Addr(), uint32(n)+1)
}

// plus is the n-th address after a, within the last 32 bits.
func plus(a netip.Addr, n uint32) netip.Addr {
	b := a.As16()
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+n)
	if a.Is4() {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

// lcm is the least common multiple.
func lcm(a, b int) uint64 {
	gcd, rest := a, b
	for rest != 0 {
		gcd, rest = rest, gcd%rest
	}
	return uint64(a/gcd) * uint64(b)
}
