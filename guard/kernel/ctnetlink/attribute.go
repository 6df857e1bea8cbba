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

// attribute reads the header of the first attribute of b. Its size includes the
// header, but not the padding; it is 0 if the attribute is malformed.
func attribute(b []byte) (typ uint16, size int) {
	if len(b) < attributeHeader {
		return 0, 0
	}
	size = int(binary.NativeEndian.Uint16(b))
	if size < attributeHeader || size > len(b) {
		return 0, 0
	}
	return binary.NativeEndian.Uint16(b[2:]) & typeMask, size
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
//
// It keeps places rather than slices: next is where most of a walk's own time
// goes, and storing an integer needs no write barrier.
type nest struct {
	*level
	b          []byte
	at         int // where the next attribute begins
	start, end int // of the value of this one
	seen       set
	typ        uint16
	err        error
}

// next goes on to the next attribute that the level knows.
func (n *nest) next() bool {
	if n.err != nil {
		return false
	}
	at, known := n.at, n.known
	for at < len(n.b) {
		typ, size := attribute(n.b[at:])
		if size == 0 {
			n.typ, n.err = 0, errMalformed(n.b[at:])
			return false
		}
		start, end := at+attributeHeader, at+size
		at += (size + 3) &^ 3 // beyond the end, if the last one is not padded
		bit := set(1) << typ  // 0 for types above 31
		if known&bit == 0 {
			continue
		}
		n.at, n.start, n.end, n.typ = at, start, end, typ
		if n.seen&bit != 0 {
			n.err = errTwice
			return false
		}
		n.seen |= bit
		return true
	}
	return false
}

// value is that of the attribute that next went on to.
func (n *nest) value() []byte { return n.b[n.start:n.end] }

// failure is the error that the nest was left with, with its place.
func (n *nest) failure() error {
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

// sized is the value, if it has the size.
func (n *nest) sized(size int) []byte {
	if n.end-n.start != size {
		n.err = fmt.Errorf("%d bytes instead of %d", n.end-n.start, size)
		return zeros[:size]
	}
	return n.b[n.start:n.end]
}

// zeros stands in for a value that is not what it should be.
var zeros [16]byte

// Integers of ctnetlink are in network byte order.

func (n *nest) u8() uint8   { return n.sized(1)[0] }
func (n *nest) u16() uint16 { return binary.BigEndian.Uint16(n.sized(2)) }
func (n *nest) u32() uint32 { return binary.BigEndian.Uint32(n.sized(4)) }
