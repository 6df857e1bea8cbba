package ctnetlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A layout is how ctnetlink_dump_tuples lays out the tuple of a protocol with
// ports in the default zone: the headers of its attributes, as words in memory,
// and how long an address is. Nearly all entries of nearly all tables have two
// such tuples.
type layout struct {
	address                                    int
	ip, src, dst, proto, num, srcPort, dstPort uint32
}

var (
	layoutIPv4 = newLayout(4, ctaIPv4Src, ctaIPv4Dst)
	layoutIPv6 = newLayout(16, ctaIPv6Src, ctaIPv6Dst)
)

func newLayout(address int, src, dst uint16) *layout {
	word := func(typ uint16, size int) uint32 {
		b := binary.NativeEndian.AppendUint16(nil, uint16(attributeHeader+size))
		return binary.NativeEndian.Uint32(binary.NativeEndian.AppendUint16(b, typ))
	}
	return &layout{
		address: address,
		ip:      word(ctaTupleIP|unix.NLA_F_NESTED, 2*(attributeHeader+address)),
		src:     word(src, address),
		dst:     word(dst, address),
		proto:   word(ctaTupleProto|unix.NLA_F_NESTED, 3*(attributeHeader+4)),
		num:     word(ctaProtoNum, 1),
		srcPort: word(ctaProtoSrcPort, 2),
		dstPort: word(ctaProtoDstPort, 2),
	}
}

// ofFamily is the family's layout.
func ofFamily(family uint8) *layout {
	if family == unix.AF_INET6 {
		return layoutIPv6
	}
	return layoutIPv4
}

// read reads a tuple that is laid out like this without going through its
// attributes, which brings an entry down from 190 ns to 120 ns. It is not ok for
// any other tuple, and has then changed nothing.
func (l *layout) read(b []byte, t *Tuple) (proto uint8, ok bool) {
	word := binary.NativeEndian.Uint32
	dst := 8 + l.address // where the second address's header is
	if len(b) != dst+4+l.address+28 || word(b) != l.ip || word(b[4:]) != l.src || word(b[dst:]) != l.dst {
		return 0, false
	}
	p := b[dst+4+l.address:]
	if word(p) != l.proto || word(p[4:]) != l.num || word(p[12:]) != l.srcPort || word(p[20:]) != l.dstPort {
		return 0, false
	}
	if portsOf(p[8], ofPorts) != ofPorts {
		return 0, false
	}
	t.Src.set(b[8:dst])
	t.Dst.set(b[dst+4 : dst+4+l.address])
	t.SrcPort = binary.BigEndian.Uint16(p[16:])
	t.DstPort = binary.BigEndian.Uint16(p[24:])
	return p[8], true
}

// set sets an address of 4 or 16 bytes.
func (a *Addr) set(b []byte) {
	if len(b) == 4 {
		*a = Addr{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
		return
	}
	copy(a[:], b)
}
