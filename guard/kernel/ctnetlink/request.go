package ctnetlink

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes that only requests have, nfnetlink_conntrack.h.
const (
	ctaMarkMask   = 21
	ctaFilter     = 25
	ctaStatusMask = 26

	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
)

// The flags of a CTA_FILTER say which fields of the tuple beside it count:
// CTA_FILTER_F_* in nf_internals.h. The kernel's header for user space lacks them.
const (
	byIPSrc   = 1 << 0
	byIPDst   = 1 << 1
	byProto   = 1 << 3
	bySrcPort = 1 << 4
	byDstPort = 1 << 5
)

// request is the request for a dump, without its sequence number. Older kernels
// skip the attributes that they don't know.
func (f *filter) request() ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	if f.StatusMask != 0 {
		a.Uint32(ctaStatus, f.Status)
		a.Uint32(ctaStatusMask, f.StatusMask)
	}
	if f.MarkMask != 0 {
		a.Uint32(ctaMark, f.Mark)
		a.Uint32(ctaMarkMask, f.MarkMask)
	}
	if f.Zone != nil {
		a.Uint16(ctaZone, *f.Zone)
	}
	f.tuples(a)
	attributes, err := a.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode the query: %w", err)
	}
	return message(f.Family, attributes), nil
}

// tuples encodes CTA_FILTER and the tuples that it is about.
func (f *filter) tuples(a *netlink.AttributeEncoder) {
	orig, reply := f.flags(&f.Orig), f.flags(&f.Reply)
	if orig|reply == 0 {
		return
	}
	a.Nested(ctaFilter, func(a *netlink.AttributeEncoder) error {
		a.ByteOrder = binary.NativeEndian // unlike all else
		a.Uint32(ctaFilterOrigFlags, orig)
		a.Uint32(ctaFilterReplyFlags, reply)
		return nil
	})
	if orig != 0 {
		a.Nested(ctaTupleOrig, f.Orig.encode)
	}
	if reply != 0 {
		a.Nested(ctaTupleReply, f.Reply.encode)
	}
}

// flags says what of m the kernel is asked to match. Without a family it takes no
// tuple (ctnetlink_parse_tuple_filter), without a protocol no ports. It is never
// asked for IPv6 addresses: ctnetlink_filter_match_tuple, from Linux 5.8 to 6.18 at
// least, has that comparison the wrong way round and dumps all entries but those.
func (f *filter) flags(m *Match) (flags uint32) {
	if f.Family == unix.AF_INET && m.Src.IsValid() {
		flags |= byIPSrc
	}
	if f.Family == unix.AF_INET && m.Dst.IsValid() {
		flags |= byIPDst
	}
	if f.Family == 0 || m.Proto == 0 {
		return flags
	}
	flags |= byProto
	if m.SrcPort != 0 && m.hasPorts() {
		flags |= bySrcPort
	}
	if m.DstPort != 0 && m.hasPorts() {
		flags |= byDstPort
	}
	return flags
}

// hasPorts is whether the kernel compares ports for the protocol.
func (m *Match) hasPorts() bool {
	return m.Proto == unix.IPPROTO_TCP || m.Proto == unix.IPPROTO_UDP
}

// encode encodes the whole tuple. The kernel looks only at what the flags name.
func (m *Match) encode(a *netlink.AttributeEncoder) error {
	a.Nested(ctaTupleIP, func(a *netlink.AttributeEncoder) error {
		if m.Src.Unmap().Is4() {
			a.Bytes(ctaIPv4Src, m.Src.Unmap().AsSlice())
		}
		if m.Dst.Unmap().Is4() {
			a.Bytes(ctaIPv4Dst, m.Dst.Unmap().AsSlice())
		}
		return nil
	})
	a.Nested(ctaTupleProto, func(a *netlink.AttributeEncoder) error {
		a.ByteOrder = binary.BigEndian
		a.Uint8(ctaProtoNum, m.Proto)
		if m.hasPorts() {
			a.Uint16(ctaProtoSrcPort, m.SrcPort)
			a.Uint16(ctaProtoDstPort, m.DstPort)
		}
		return nil
	})
	return nil
}

// message is a request to dump a family, 0 for both. NLM_F_ACK is not set: a
// refusal is answered without it, and a dump ends with its own message.
func message(family uint8, attributes []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+nfgenmsg, unix.SizeofNlMsghdr+nfgenmsg+len(attributes))
	b = append(b, attributes...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], ctGet)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[unix.SizeofNlMsghdr] = family
	return b
}
