package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes of a TCP entry's flags, enum ctattr_protoinfo_tcp, and the flag that has
// conntrack take packets that are out of the window, nf_conntrack_tcp.h.
const (
	ctaTCPFlagsOriginal = 4
	ctaTCPFlagsReply    = 5

	tcpBeLiberal = 0x08 // IP_CT_TCP_FLAG_BE_LIBERAL
)

// liberal is the CTA_PROTOINFO that sets the flag of both directions and leaves all
// other flags and the state as they are (nlattr_to_tcp).
var liberal = func() []byte {
	flags := [2]byte{tcpBeLiberal, tcpBeLiberal} // struct nf_ct_tcp_flags: the flags, and which of them are meant
	var d drawing
	d.nest(ctaProtoInfo, func() {
		d.nest(ctaProtoInfoTCP, func() {
			for _, direction := range []uint16{ctaTCPFlagsOriginal, ctaTCPFlagsReply} {
				at := d.value(direction, len(flags))
				copy(d.b[at:], flags[:])
			}
		})
	})
	return d.b
}()

// Loosen queues that the window of a TCP connection is no longer checked, in either
// direction. Its entry then takes the connection up again wherever that has got to while
// its packets were not tracked. Like a change of time it does not look at the id, which
// it has all the same, and counts as one: it may meet a connection that took the tuple
// over, which is then as loose.
func (b *Batch) Loosen(e *Entry) error {
	s, err := shapeOf(e)
	if err == nil && e.Proto != unix.IPPROTO_TCP {
		err = errors.New("it is not of TCP")
	}
	if err != nil {
		return fmt.Errorf("loosen an entry: %w", err)
	}
	at := len(b.queue)
	queue := append(s.put(b.queue, e, ctaID, e.ID), liberal...)
	binary.NativeEndian.PutUint32(queue[at:], uint32(len(queue)-at))
	binary.NativeEndian.PutUint16(queue[at+4:], ctNew)
	b.push(queue, at)
	return nil
}
