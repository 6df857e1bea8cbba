package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// struct nlattr: length with the header, then the type, both in host byte order.
// The type's two highest bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
// Attributes begin at multiples of 4 bytes.
const (
	attributeHeader = 4
	typeMask        = 0x3fff
)

// attribute reads the first attribute of b. Its size is that with the padding
// to the next one, 0 if it is malformed.
func attribute(b []byte) (typ uint16, value []byte, size int) {
	if len(b) < attributeHeader {
		return 0, nil, 0
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < attributeHeader || n > len(b) {
		return 0, nil, 0
	}
	return binary.NativeEndian.Uint16(b[2:]) & typeMask, b[attributeHeader:n], min((n+3)&^3, len(b))
}

// errMalformed says what attribute found wrong with b.
func errMalformed(b []byte) error {
	if len(b) < attributeHeader {
		return fmt.Errorf("%d stray bytes after the last attribute", len(b))
	}
	return fmt.Errorf("an attribute of %d bytes where %d are left", binary.NativeEndian.Uint16(b), len(b))
}

var errTwice = errors.New("there twice")

// A set of attribute types below 32.
type set uint32

func setOf(types ...uint16) (s set) {
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

// A level is a nest's kind: the attributes that are read, by their types.
type level struct {
	known set
	names map[uint16]string
}

func levelOf(names map[uint16]string) *level {
	l := &level{names: names}
	for t := range names {
		l.known |= 1 << t
	}
	return l
}

// A nest goes through the attributes of one nest. It stops at the first error,
// which whoever looks at a value sets.
type nest struct {
	*level
	rest  []byte
	seen  set
	typ   uint16
	value []byte
	err   error
}

// next goes on to the next attribute that the level knows.
func (n *nest) next() bool {
	for n.err == nil && len(n.rest) > 0 {
		typ, value, size := attribute(n.rest)
		if size == 0 {
			n.typ, n.err = 0, errMalformed(n.rest)
			return false
		}
		n.rest = n.rest[size:]
		bit := set(1) << typ // 0 for types above 31
		if n.known&bit == 0 {
			continue
		}
		n.typ, n.value = typ, value
		if n.seen&bit != 0 {
			n.err = errTwice
			return false
		}
		n.seen |= bit
		return true
	}
	return false
}

// end is the error that the nest was left with, with its place.
func (n *nest) end() error {
	if n.err == nil {
		return nil
	}
	if name, ok := n.names[n.typ]; ok {
		return fmt.Errorf("%s: %w", name, n.err)
	}
	return n.err
}

// lacks names one attribute of want that is not there.
func (n *nest) lacks(want set) error {
	if n.seen&want == want {
		return nil
	}
	for typ := range uint16(32) {
		if bit := set(1) << typ; want&^n.seen&bit != 0 {
			return fmt.Errorf("no %s", n.names[typ])
		}
	}
	return nil
}

// sized makes sure that the value has size bytes.
func (n *nest) sized(size int) bool {
	if len(n.value) == size {
		return true
	}
	n.err = fmt.Errorf("%d bytes instead of %d", len(n.value), size)
	return false
}

// Integers of ctnetlink are in network byte order.

func (n *nest) u8() uint8 {
	if !n.sized(1) {
		return 0
	}
	return n.value[0]
}

func (n *nest) u16() uint16 {
	if !n.sized(2) {
		return 0
	}
	return binary.BigEndian.Uint16(n.value)
}

func (n *nest) u32() uint32 {
	if !n.sized(4) {
		return 0
	}
	return binary.BigEndian.Uint32(n.value)
}
