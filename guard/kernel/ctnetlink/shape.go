package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A shape is the message about entries of one kind, all but what they differ in:
// where that belongs, values are patched in. To copy and patch takes a fraction of
// what it takes to put attributes together, and no length is ever computed from an
// entry.
type shape struct {
	message            [shapeSize]byte
	size               int // of the message
	src, dst, num      int // where the addresses and the protocol are
	first, second      int // the ports; of ICMP the id and the type
	third              int // of ICMP the code, otherwise 0
	last, zone, inside int // the value after the tuple; CTA_ZONE's and CTA_TUPLE_ZONE's, 0 if there is none
}

// shapeSize is the size of the largest: of ICMPv6 with a zone.
const shapeSize = 128

// A portKind is what a protocol's tuple has for ports.
type portKind uint8

const (
	noPorts portKind = iota
	withPorts
	withICMP
	withICMPv6
	portKinds
)

// A zoneKind is where a message has the zone of an entry's original direction.
type zoneKind uint8

const (
	zoneDefault  zoneKind = iota // nowhere
	zoneBoth                     // beside the tuple: it is for both directions
	zoneOriginal                 // in the tuple: it is for that direction alone
	zoneKinds
)

// shapes are all shapes, by family (0 is IPv4), ports and zone.
var shapes = func() (all [2][portKinds][zoneKinds]shape) {
	for family := range all {
		for ports := range portKinds {
			for zone := range zoneKinds {
				all[family][ports][zone] = newShape(family == 1, ports, zone)
			}
		}
	}
	return all
}()

func newShape(v6 bool, ports portKind, zone zoneKind) (s shape) {
	d := drawing{b: s.message[:0:shapeSize]}
	d.b = append(d.b, make([]byte, unix.SizeofNlMsghdr+nfgenmsg)...)
	d.nest(ctaTupleOrig, func() {
		d.nest(ctaTupleIP, func() { s.src, s.dst = d.addresses(v6) })
		d.nest(ctaTupleProto, func() {
			s.num = d.value(ctaProtoNum, 1)
			s.first, s.second, s.third = d.ports(ports)
		})
		if zone == zoneOriginal {
			s.inside = d.value(ctaTupleZone, 2)
		}
	})
	s.last = d.value(0, 4)
	if zone == zoneBoth {
		s.zone = d.value(ctaZone, 2)
	}
	s.size = len(d.b)
	binary.NativeEndian.PutUint32(d.b, uint32(s.size))
	binary.NativeEndian.PutUint16(d.b[6:], unix.NLM_F_REQUEST)
	d.b[unix.SizeofNlMsghdr] = unix.AF_INET
	if v6 {
		d.b[unix.SizeofNlMsghdr] = unix.AF_INET6
	}
	return s
}

// A drawing is a shape's message on its way.
type drawing struct{ b []byte }

// value appends an attribute and returns where its value is.
func (d *drawing) value(typ uint16, size int) (at int) {
	d.b = binary.NativeEndian.AppendUint16(d.b, uint16(attributeHeader+size))
	d.b = binary.NativeEndian.AppendUint16(d.b, typ)
	at = len(d.b)
	d.b = append(d.b, zeros[:(size+3)&^3]...)
	return at
}

func (d *drawing) nest(typ uint16, content func()) {
	at := d.value(typ|unix.NLA_F_NESTED, 0)
	content()
	binary.NativeEndian.PutUint16(d.b[at-attributeHeader:], uint16(len(d.b)-at+attributeHeader))
}

func (d *drawing) addresses(v6 bool) (src, dst int) {
	if v6 {
		return d.value(ctaIPv6Src, 16), d.value(ctaIPv6Dst, 16)
	}
	return d.value(ctaIPv4Src, 4), d.value(ctaIPv4Dst, 4)
}

func (d *drawing) ports(k portKind) (first, second, third int) {
	switch k {
	case withPorts:
		return d.value(ctaProtoSrcPort, 2), d.value(ctaProtoDstPort, 2), 0
	case withICMP:
		return d.value(ctaProtoICMPID, 2), d.value(ctaProtoICMPType, 1), d.value(ctaProtoICMPCode, 1)
	case withICMPv6:
		return d.value(ctaProtoICMPv6ID, 2), d.value(ctaProtoICMPv6Type, 1), d.value(ctaProtoICMPv6Code, 1)
	}
	return 0, 0, 0
}

// shapeOf is the shape of messages about an entry. It refuses one that the kernel
// can't have dumped: what isn't told whole is never asked to be changed.
func shapeOf(e *Entry) (*shape, error) {
	family, err := e.familyIndex()
	if err != nil {
		return nil, err
	}
	if e.Proto == 0 {
		return nil, errors.New("it has no protocol")
	}
	if e.Orig.Src.unspecified() && e.Orig.Dst.unspecified() {
		return nil, errors.New("it has no addresses")
	}
	ports := e.portKind()
	if ports == withPorts && e.Orig.SrcPort|e.Orig.DstPort == 0 && (e.Proto == unix.IPPROTO_TCP || e.Proto == unix.IPPROTO_UDP) {
		return nil, errors.New("it has no ports")
	}
	zone, err := e.zoneKind()
	if err != nil {
		return nil, err
	}
	return &shapes[family][ports][zone], nil
}

// familyIndex checks that the addresses are of the family.
func (e *Entry) familyIndex() (int, error) {
	switch {
	case e.Family == unix.AF_INET6:
		return 1, nil
	case e.Family != unix.AF_INET:
		return 0, fmt.Errorf("it is of address family %d", e.Family)
	case !e.Orig.Src.mapped() || !e.Orig.Dst.mapped():
		return 0, errors.New("it is of IPv4, but its addresses are not")
	}
	return 0, nil
}

// portKind is what the kernel wants for the ports of a protocol: nlattr_to_tuple of
// its struct nf_conntrack_l4proto. One that was built without the protocol looks at
// none.
func (e *Entry) portKind() portKind {
	switch e.Proto {
	case unix.IPPROTO_ICMP:
		return withICMP
	case unix.IPPROTO_ICMPV6:
		return withICMPv6
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDPLITE, unix.IPPROTO_GRE:
		return withPorts
	}
	if e.Orig.SrcPort|e.Orig.DstPort != 0 {
		return withPorts
	}
	return noPorts
}

// zoneKind is where the zone belongs in which the original tuple is looked for. If
// the zone is for replies alone, that is the default one.
func (e *Entry) zoneKind() (zoneKind, error) {
	if e.OrigZone != 0 && e.OrigZone != e.Zone || e.ReplyZone != 0 && e.ReplyZone != e.Zone || e.OrigZone|e.ReplyZone != e.Zone {
		return 0, fmt.Errorf("its zone %d is %d for the original and %d for the reply", e.Zone, e.OrigZone, e.ReplyZone)
	}
	switch {
	case e.OrigZone == 0:
		return zoneDefault, nil
	case e.ReplyZone == 0:
		return zoneOriginal, nil
	}
	return zoneBoth, nil
}

// put appends the message about an entry to b, of no type yet, with one attribute
// besides the tuple and the zone.
func (s *shape) put(b []byte, e *Entry, attribute uint16, value uint32) []byte {
	at := len(b)
	b = append(b, s.message[:s.size]...)
	m := b[at:]
	if e.Family == unix.AF_INET6 {
		copy(m[s.src:s.src+16], e.Orig.Src[:])
		copy(m[s.dst:s.dst+16], e.Orig.Dst[:])
	} else {
		copy(m[s.src:s.src+4], e.Orig.Src[12:])
		copy(m[s.dst:s.dst+4], e.Orig.Dst[12:])
	}
	m[s.num] = e.Proto
	s.putPorts(m, &e.Orig)
	binary.NativeEndian.PutUint16(m[s.last-2:], attribute)
	binary.BigEndian.PutUint32(m[s.last:], value)
	if zone := s.zone + s.inside; zone != 0 {
		binary.BigEndian.PutUint16(m[zone:], e.OrigZone)
	}
	return b
}

func (s *shape) putPorts(m []byte, t *Tuple) {
	if s.first == 0 {
		return
	}
	binary.BigEndian.PutUint16(m[s.first:], t.SrcPort)
	if s.third == 0 {
		binary.BigEndian.PutUint16(m[s.second:], t.DstPort)
		return
	}
	m[s.second], m[s.third] = byte(t.DstPort>>8), byte(t.DstPort)
}
