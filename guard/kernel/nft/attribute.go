package nft

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// errCutShort is an answer that ends within an attribute.
var errCutShort = errors.New("attribute cut short")

// next takes the first attribute off b. The value is part of b: the library's
// decoder copies every attribute once for every level that it is nested in.
func next(b []byte) (kind uint16, value, rest []byte, err error) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil, errCutShort
	}
	size := int(binary.NativeEndian.Uint16(b))
	if size < unix.SizeofNlAttr || size > len(b) {
		return 0, nil, nil, errCutShort
	}
	kind = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	aligned := (size + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1)
	return kind, b[unix.SizeofNlAttr:size], b[min(aligned, len(b)):], nil
}

// find follows a path of nested attributes and returns the value at its end,
// nil if there is none.
func find(b []byte, path ...uint16) []byte {
	for _, want := range path {
		if b = first(b, want); b == nil {
			return nil
		}
	}
	return b
}

// first is the value of the first attribute of a kind.
func first(b []byte, want uint16) []byte {
	for len(b) > 0 {
		kind, value, rest, err := next(b)
		if err != nil {
			return nil
		}
		if kind == want {
			return value
		}
		b = rest
	}
	return nil
}

// findUint64 and findUint32 are for numbers, which nf_tables sends big-endian.
func findUint64(b []byte, path ...uint16) (uint64, bool) {
	if b = find(b, path...); len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

func findUint32(b []byte, path ...uint16) (uint32, bool) {
	if b = find(b, path...); len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// beginAttribute begins an attribute whose value is appended next, and endAttribute
// ends the one that begins at an offset.
func beginAttribute(b []byte, kind uint16) []byte {
	return binary.NativeEndian.AppendUint16(append(b, 0, 0), kind)
}

func endAttribute(b []byte, begin int) {
	binary.NativeEndian.PutUint16(b[begin:], uint16(len(b)-begin))
}

// appendAttribute appends an attribute of up to 64 KiB, padded.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	begin := len(b)
	b = append(beginAttribute(b, kind), value...)
	endAttribute(b, begin)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
