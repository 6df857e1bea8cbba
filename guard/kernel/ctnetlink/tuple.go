package ctnetlink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes of a tuple, enum ctattr_tuple, ctattr_ip and ctattr_l4proto in
// nfnetlink_conntrack.h.
const (
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum        = 1
	ctaProtoSrcPort    = 2
	ctaProtoDstPort    = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9
)

var (
	tupleLevel = levelOf(map[uint16]string{
		ctaTupleIP: "CTA_TUPLE_IP", ctaTupleProto: "CTA_TUPLE_PROTO", ctaTupleZone: "CTA_TUPLE_ZONE",
	})
	ipLevel = levelOf(map[uint16]string{
		ctaIPv4Src: "CTA_IP_V4_SRC", ctaIPv4Dst: "CTA_IP_V4_DST",
		ctaIPv6Src: "CTA_IP_V6_SRC", ctaIPv6Dst: "CTA_IP_V6_DST",
	})
	protoLevel = levelOf(map[uint16]string{
		ctaProtoNum: "CTA_PROTO_NUM", ctaProtoSrcPort: "CTA_PROTO_SRC_PORT", ctaProtoDstPort: "CTA_PROTO_DST_PORT",
		ctaProtoICMPID: "CTA_PROTO_ICMP_ID", ctaProtoICMPType: "CTA_PROTO_ICMP_TYPE",
		ctaProtoICMPCode: "CTA_PROTO_ICMP_CODE", ctaProtoICMPv6ID: "CTA_PROTO_ICMPV6_ID",
		ctaProtoICMPv6Type: "CTA_PROTO_ICMPV6_TYPE", ctaProtoICMPv6Code: "CTA_PROTO_ICMPV6_CODE",
	})
)

// What belongs together.
var (
	ofTuple  = setOf(ctaTupleIP, ctaTupleProto)
	ofIPv4   = setOf(ctaIPv4Src, ctaIPv4Dst)
	ofIPv6   = setOf(ctaIPv6Src, ctaIPv6Dst)
	ofNoPort = setOf(ctaProtoNum)
	ofPorts  = setOf(ctaProtoNum, ctaProtoSrcPort, ctaProtoDstPort)
	ofICMP   = setOf(ctaProtoNum, ctaProtoICMPID, ctaProtoICMPType, ctaProtoICMPCode)
	ofICMPv6 = setOf(ctaProtoNum, ctaProtoICMPv6ID, ctaProtoICMPv6Type, ctaProtoICMPv6Code)
)

// tuple reads one direction.
func (p *parser) tuple(value []byte, into *Tuple) (proto uint8, err error) {
	n := nest{level: tupleLevel, b: value}
	for n.next() {
		switch n.typ {
		case ctaTupleIP:
			n.err = into.addresses(n.value(), p.Family)
		case ctaTupleProto:
			proto, n.err = into.ports(n.value())
		case ctaTupleZone:
			p.zone(&n, into == &p.Orig, into == &p.Reply)
		}
	}
	if n.err == nil && n.seen&ofTuple != ofTuple {
		return 0, n.lacks(ofTuple)
	}
	return proto, n.failure()
}

// set sets an address of 4 or 16 bytes.
func (a *Addr) set(b []byte) {
	if len(b) == 4 {
		a.setIPv4(b)
		return
	}
	copy(a[:], b)
}

func (t *Tuple) addresses(value []byte, family uint8) error {
	n := nest{level: ipLevel, b: value}
	for n.next() {
		switch n.typ {
		case ctaIPv4Src:
			t.Src.set(n.sized(4))
		case ctaIPv4Dst:
			t.Dst.set(n.sized(4))
		case ctaIPv6Src:
			t.Src.set(n.sized(16))
		case ctaIPv6Dst:
			t.Dst.set(n.sized(16))
		}
	}
	if n.err != nil {
		return n.failure()
	}
	want := ofIPv4
	if family == unix.AF_INET6 {
		want = ofIPv6
	}
	if n.seen&^want != 0 {
		return fmt.Errorf("an address of another family than %d", family)
	}
	return n.lacks(want)
}

// ports reads the protocol and what it has for ports.
func (t *Tuple) ports(value []byte) (proto uint8, err error) {
	n := nest{level: protoLevel, b: value}
	for n.next() {
		switch n.typ {
		case ctaProtoNum:
			proto = n.u8()
		case ctaProtoSrcPort, ctaProtoICMPID, ctaProtoICMPv6ID:
			t.SrcPort = n.u16()
		case ctaProtoDstPort:
			t.DstPort = n.u16()
		case ctaProtoICMPType, ctaProtoICMPv6Type:
			t.DstPort |= uint16(n.u8()) << 8
		case ctaProtoICMPCode, ctaProtoICMPv6Code:
			t.DstPort |= uint16(n.u8())
		}
	}
	if n.err != nil {
		return 0, n.failure()
	}
	if n.seen&ofNoPort == 0 {
		return 0, n.lacks(ofNoPort)
	}
	want := portsOf(proto, n.seen)
	if n.seen&^want != 0 {
		return 0, fmt.Errorf("protocol %d with another protocol's attributes", proto)
	}
	return proto, n.lacks(want)
}

// portsOf is what a protocol's tuple consists of: tuple_to_nlattr of its struct
// nf_conntrack_l4proto. Those that the kernel was built without have no ports.
func portsOf(proto uint8, seen set) set {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		return ofPorts
	case unix.IPPROTO_ICMP:
		return ofICMP
	case unix.IPPROTO_ICMPV6:
		return ofICMPv6
	}
	if seen == ofNoPort {
		return ofNoPort
	}
	return ofPorts
}
