package ctnetlink

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// What the tests say to the kernel, and in its name: attributes and messages put
// together by hand.

func attr(typ uint16, values ...[]byte) []byte {
	value := bytes.Join(values, nil)
	b := binary.NativeEndian.AppendUint16(nil, uint16(attributeHeader+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func nested(typ uint16, attributes ...[]byte) []byte {
	return attr(typ|unix.NLA_F_NESTED, attributes...)
}

func u8(v uint8) []byte   { return []byte{v} }
func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// Attributes of CTA_PROTOINFO_SCTP without which the kernel makes no entry.
const (
	ctaSCTPVTagOriginal = 2
	ctaSCTPVTagReply    = 3
)

// body is struct nfgenmsg and attributes.
func body(family uint8, attributes ...[]byte) []byte {
	return append([]byte{family, 0, 0, 0}, bytes.Join(attributes, nil)...)
}

// sequence and port are those of the walks that tests answer.
const (
	sequence = 7
	port     = 4711
)

func answer(typ, flags uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_MULTI)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = binary.NativeEndian.AppendUint32(b, port)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func entry(e Entry) []byte { return answer(ctNew, 0, body(e.Family, attributes(e)...)) }

func errno(e int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(e)) }

func done() []byte { return answer(unix.NLMSG_DONE, 0, errno(0)) }

// attributes says what e says, as ctnetlink_fill_info does.
func attributes(e Entry) [][]byte {
	list := [][]byte{
		nested(ctaTupleOrig, tuple(e, e.Orig)...),
		nested(ctaTupleReply, tuple(e, e.Reply)...),
	}
	if e.Zone != 0 {
		list = append(list, attr(ctaZone, u16(e.Zone)))
	}
	list = append(list, attr(ctaStatus, u32(e.Status)), attr(ctaMark, u32(e.Mark)), attr(ctaID, u32(e.ID)))
	if e.Use != 0 {
		list = append(list, attr(ctaUse, u32(e.Use)))
	}
	if e.Offloaded {
		return list
	}
	list = append(list, attr(ctaTimeout, u32(e.Timeout)))
	if e.Proto == unix.IPPROTO_TCP {
		list = append(list, nested(ctaProtoInfo, nested(ctaProtoInfoTCP, attr(ctaTCPState, u8(e.TCPState)))))
	}
	if e.Proto == unix.IPPROTO_SCTP {
		list = append(list, nested(ctaProtoInfo, nested(ctaProtoInfoSCTP,
			attr(ctaSCTPState, u8(e.SCTPState)), attr(ctaSCTPVTagOriginal, u32(7)), attr(ctaSCTPVTagReply, u32(8)))))
	}
	return list
}

func tuple(e Entry, t Tuple) [][]byte {
	src, dst := uint16(ctaIPv6Src), uint16(ctaIPv6Dst)
	if e.Family == unix.AF_INET {
		src, dst = ctaIPv4Src, ctaIPv4Dst
	}
	return [][]byte{
		nested(ctaTupleIP, attr(src, t.Src.Netip().AsSlice()), attr(dst, t.Dst.Netip().AsSlice())),
		nested(ctaTupleProto, slices.Concat(attr(ctaProtoNum, u8(e.Proto)), ports(e.Proto, t))),
	}
}

func ports(proto uint8, t Tuple) []byte {
	kind, code := u8(uint8(t.DstPort>>8)), u8(uint8(t.DstPort))
	switch proto {
	case unix.IPPROTO_ICMP:
		return slices.Concat(attr(ctaProtoICMPID, u16(t.SrcPort)), attr(ctaProtoICMPType, kind), attr(ctaProtoICMPCode, code))
	case unix.IPPROTO_ICMPV6:
		return slices.Concat(attr(ctaProtoICMPv6ID, u16(t.SrcPort)), attr(ctaProtoICMPv6Type, kind), attr(ctaProtoICMPv6Code, code))
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_GRE:
		return slices.Concat(attr(ctaProtoSrcPort, u16(t.SrcPort)), attr(ctaProtoDstPort, u16(t.DstPort)))
	}
	return nil
}
