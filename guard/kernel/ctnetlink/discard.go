package ctnetlink

import (
	"context"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// doneSize is the size of the NLMSG_DONE that ends a dump: its header and a
// result.
const doneSize = unix.SizeofNlMsghdr + 4

// Discard receives a dump of the whole table and parses nothing: the floor that a
// benchmark holds a walk against, of no other use. It returns how many datagrams
// and bytes came. A dump that the kernel breaks off ends like one that it never
// completes, with os.ErrDeadlineExceeded.
func (c *Conn) Discard(ctx context.Context) (datagrams, bytes int, err error) {
	request, _, err := Query{}.compile()
	if err != nil {
		return 0, 0, reading(err)
	}
	err = c.dump(ctx, request, func(datagram []byte) error {
		datagrams++
		bytes += len(datagram)
		return c.last(datagram)
	})
	return datagrams, bytes, err
}

// last returns errDone for a datagram that ends with the end of the dump.
func (c *Conn) last(datagram []byte) error {
	if len(datagram) < doneSize {
		return nil
	}
	end := datagram[len(datagram)-doneSize:]
	if binary.NativeEndian.Uint32(end) != doneSize || binary.NativeEndian.Uint16(end[4:]) != unix.NLMSG_DONE ||
		binary.NativeEndian.Uint32(end[8:]) != c.seq || binary.NativeEndian.Uint32(end[12:]) != c.port {
		return nil
	}
	return errDone
}
