package lab

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attributes is a netlink message that is being written. The library's encoder
// does not say where it puts things, which patching in place needs to know.
type attributes struct{ bytes []byte }

// add appends an attribute and returns where its value is.
func (a *attributes) add(kind uint16, value ...byte) int {
	a.bytes = binary.NativeEndian.AppendUint16(a.bytes, uint16(unix.SizeofNlAttr+len(value)))
	a.bytes = binary.NativeEndian.AppendUint16(a.bytes, kind)
	at := len(a.bytes)
	a.bytes = append(a.bytes, value...)
	for len(a.bytes)%unix.NLA_ALIGNTO != 0 {
		a.bytes = append(a.bytes, 0)
	}
	return at
}

// room appends an attribute whose value is put in later, and notes where.
func (a *attributes) room(kind uint16, size int, places *[]int) {
	*places = append(*places, a.add(kind, make([]byte, size)...))
}

// nest appends an attribute made of those that fn appends.
func (a *attributes) nest(kind uint16, fn func()) {
	at := a.add(kind | unix.NLA_F_NESTED)
	fn()
	binary.NativeEndian.PutUint16(a.bytes[at-unix.SizeofNlAttr:], uint16(len(a.bytes)-at+unix.SizeofNlAttr))
}

func big16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func big32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
