package lab

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// Attributes of ctnetlink, nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaNATSrc     = 6
	ctaTimeout    = 7
	ctaMark       = 8
	ctaNATDst     = 13
	ctaMaster     = 14
	ctaZone       = 18

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ctaProtoInfoTCP = 1
	ctaTCPState     = 1
	ctaTCPFlagsOrig = 4
	ctaTCPFlagsRep  = 5

	ctaProtoInfoSCTP = 3
	ctaSCTPState     = 1
	ctaSCTPTagOrig   = 2
	ctaSCTPTagRep    = 3

	ctaNATProto   = 3
	ctaNATPortMin = 1
	ctaNATPortMax = 2

	// IP_CT_TCP_FLAG_BE_LIBERAL: the windows of an entry that saw no packet are
	// unknown, so traffic on it must not be judged by them.
	tcpLiberal = 0x08
)

// An addressing is the attributes that differ between the families.
type addressing struct {
	family           uint8
	size             int    // bytes of an address
	src, dst         uint16 // CTA_IP_*
	natMin, natMax   uint16 // CTA_NAT_*_MINIP, _MAXIP
	id, kind, detail uint16 // CTA_PROTO_ICMP*_ID, _TYPE, _CODE
}

var (
	ipv4 = addressing{unix.AF_INET, 4, 1, 2, 1, 2, 4, 5, 6}
	ipv6 = addressing{unix.AF_INET6, 16, 3, 4, 4, 5, 7, 8, 9}
)

// An entryMessage is one IPCTNL_MSG_CT_NEW, marshalled once. Only tuples differ
// from entry to entry, and they are patched in place. A field that the kind
// does not have has no places.
//
// The kernel lets nobody set the status bits of NAT (IPS_UNCHANGEABLE_MASK): it
// sets them when it translates an entry itself, which CTA_NAT_SRC and CTA_NAT_DST
// make it do (ctnetlink_setup_nat). The reply that is sent is therefore
// untranslated. The ranges have one address and one port, so nothing is left to
// the kernel's choice.
type entryMessage struct {
	attributes
	ip addressing

	src, dst         []int
	srcPort, dstPort []int
	nat, natPort     []int
	backend          []int

	masterSrc, masterDst         []int
	masterSrcPort, masterDstPort []int
}

// newEntryMessage wants resolved entries.
func newEntryMessage(n numbered) *entryMessage {
	e := n.Entries
	m := &entryMessage{ip: ipv4}
	if e.Family == 6 {
		m.ip = ipv6
	}
	m.bytes = appendHeader(nil, ctNew, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL, m.ip.family)
	m.tuples(e)
	m.add(ctaStatus, big32(uint32(e.status()))...)
	m.add(ctaTimeout, big32(uint32(e.Timeout/time.Second))...)
	if e.Mark != 0 {
		m.add(ctaMark, big32(e.Mark)...)
	}
	if e.Zone != 0 {
		m.add(ctaZone, big16(e.Zone)...)
	}
	switch e.Proto {
	case unix.IPPROTO_TCP:
		m.tcp(e.State)
	case unix.IPPROTO_SCTP:
		m.sctp(e.State)
	}
	m.translations(e)
	if n.masters != nil {
		m.master(n.masters.Proto)
	}
	m.bytes = finish(m.bytes)
	return m
}

func (m *entryMessage) tuples(e *Entries) {
	m.nest(ctaTupleOrig, func() {
		m.addresses(&m.src, &m.dst)
		if e.isICMP() {
			m.icmp(e.Proto, e.echo().ask)
		} else {
			m.ports(e.Proto, &m.srcPort, &m.dstPort)
		}
	})
	m.nest(ctaTupleReply, func() {
		m.addresses(&m.dst, &m.src)
		if e.isICMP() {
			m.icmp(e.Proto, e.echo().answer)
		} else {
			m.ports(e.Proto, &m.dstPort, &m.srcPort)
		}
	})
}

func (m *entryMessage) addresses(src, dst *[]int) {
	m.nest(ctaTupleIP, func() {
		m.room(m.ip.src, m.ip.size, src)
		m.room(m.ip.dst, m.ip.size, dst)
	})
}

func (m *entryMessage) ports(proto uint8, src, dst *[]int) {
	m.nest(ctaTupleProto, func() {
		m.add(ctaProtoNum, proto)
		m.room(ctaProtoSrc, 2, src)
		m.room(ctaProtoDst, 2, dst)
	})
}

// icmp has the id, which stands for the source port, in both directions.
func (m *entryMessage) icmp(proto, kind uint8) {
	m.nest(ctaTupleProto, func() {
		m.add(ctaProtoNum, proto)
		m.room(m.ip.id, 2, &m.srcPort)
		m.add(m.ip.kind, kind)
		m.add(m.ip.detail, 0)
	})
}

func (m *entryMessage) tcp(state uint8) {
	m.nest(ctaProtoInfo, func() {
		m.nest(ctaProtoInfoTCP, func() {
			m.add(ctaTCPState, state)
			m.add(ctaTCPFlagsOrig, tcpLiberal, tcpLiberal) // flags and mask
			m.add(ctaTCPFlagsRep, tcpLiberal, tcpLiberal)
		})
	})
}

// sctp has verification tags, which the kernel wants to know and never sees again.
func (m *entryMessage) sctp(state uint8) {
	m.nest(ctaProtoInfo, func() {
		m.nest(ctaProtoInfoSCTP, func() {
			m.add(ctaSCTPState, state)
			m.add(ctaSCTPTagOrig, big32(1)...)
			m.add(ctaSCTPTagRep, big32(2)...)
		})
	})
}

// master is what makes the kernel set IPS_EXPECTED.
func (m *entryMessage) master(proto uint8) {
	m.nest(ctaMaster, func() {
		m.addresses(&m.masterSrc, &m.masterDst)
		m.ports(proto, &m.masterSrcPort, &m.masterDstPort)
	})
}

func (m *entryMessage) translations(e *Entries) {
	if e.DNAT.IsValid() {
		m.nest(ctaNATDst, func() { m.natAddress(&m.backend) })
	}
	if e.SNAT.translates() {
		m.nest(ctaNATSrc, func() {
			m.natAddress(&m.nat)
			m.nest(ctaNATProto, func() {
				m.room(ctaNATPortMin, 2, &m.natPort)
				m.room(ctaNATPortMax, 2, &m.natPort)
			})
		})
	}
}

func (m *entryMessage) natAddress(at *[]int) {
	m.room(m.ip.natMin, m.ip.size, at)
	m.room(m.ip.natMax, m.ip.size, at)
}

// become makes the message that of an entry of its kind.
func (m *entryMessage) become(e Entry) {
	m.putAddr(m.src, e.Orig.Src)
	m.putAddr(m.dst, e.Orig.Dst)
	m.putPort(m.srcPort, e.Orig.SrcPort)
	m.putPort(m.dstPort, e.Orig.DstPort)
	m.putAddr(m.backend, e.Reply.Src)
	m.putAddr(m.nat, e.Reply.Dst)
	if e.Kind.isICMP() {
		m.putPort(m.natPort, e.Reply.SrcPort)
	} else {
		m.putPort(m.natPort, e.Reply.DstPort)
	}
	if e.Master != (Tuple{}) {
		m.putAddr(m.masterSrc, e.Master.Src)
		m.putAddr(m.masterDst, e.Master.Dst)
		m.putPort(m.masterSrcPort, e.Master.SrcPort)
		m.putPort(m.masterDstPort, e.Master.DstPort)
	}
}

func (m *entryMessage) putAddr(at []int, a netip.Addr) {
	b := a.As16()
	for _, i := range at {
		copy(m.bytes[i:], b[16-m.ip.size:])
	}
}

func (m *entryMessage) putPort(at []int, port uint16) {
	for _, i := range at {
		binary.BigEndian.PutUint16(m.bytes[i:], port)
	}
}

// status is that of an entry which has seen packets of the kind.
func (e Entries) status() conntrack.Status {
	s := conntrack.StatusConfirmed
	if e.Replied {
		s |= conntrack.StatusSeenReply
	}
	if e.Assured {
		s |= conntrack.StatusAssured
	}
	if e.Fixed {
		s |= conntrack.StatusFixedTimeout
	}
	return s
}
