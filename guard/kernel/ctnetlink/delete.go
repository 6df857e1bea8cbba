package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ctDelete is IPCTNL_MSG_CT_DELETE. To a kernel that finds no tuple in one it means
// to empty the whole table.
const ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

var errAimless = errors.New("a delete that does not say of what")

// makeDelete makes a delete of a message. Nothing else does, and it does so only to
// one that begins with CTA_TUPLE_ORIG, with an address in it, followed by the CTA_ID
// of the one entry that is meant or the CTA_FILTER that says what of the tuple
// counts. It looks at the bytes as the kernel will: an attribute whose length is
// wrong hides all after it from a kernel, that would then see no tuple.
func makeDelete(m []byte) error {
	if len(m) < unix.SizeofNlMsghdr+nfgenmsg || int(binary.NativeEndian.Uint32(m)) != len(m) {
		return fmt.Errorf("%w: its length is wrong", errAimless)
	}
	b := m[unix.SizeofNlMsghdr+nfgenmsg:]
	typ, size := attribute(b)
	if typ != ctaTupleOrig || size < attributeHeader || size&3 != 0 {
		return fmt.Errorf("%w: it has no tuple", errAimless)
	}
	if ip, n := attribute(b[attributeHeader:size]); ip != ctaTupleIP || n < attributeHeader+8 {
		return fmt.Errorf("%w: its tuple has no address", errAimless)
	}
	switch typ, n := attribute(b[size:]); {
	case typ == ctaID && n == attributeHeader+4:
	case typ == ctaFilter && filtered(b[size+attributeHeader:size+n]):
	default:
		return fmt.Errorf("%w: it has neither an id nor a filter", errAimless)
	}
	binary.NativeEndian.PutUint16(m[4:], ctDelete)
	return nil
}

// filtered reports whether the value of a CTA_FILTER says that something of the
// original tuple counts.
func filtered(filter []byte) bool {
	typ, n := attribute(filter)
	return typ == ctaFilterOrigFlags && n == attributeHeader+4 && binary.NativeEndian.Uint32(filter[attributeHeader:]) != 0
}
