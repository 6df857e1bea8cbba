package ctnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrUnsupported is that this kernel deletes nothing by a filter, and deleted
// nothing.
var ErrUnsupported = errors.New("the kernel can't delete by a filter")

// DeleteUnrepliedUDP deletes the UDP entries from an IPv4 address, of all zones,
// that have not seen a reply, in one message, in the calling thread's namespace. It
// returns how many there were just before. The kernel goes through the table twice,
// to count and to delete, at 0.2 and 0.4 us for each entry in it, whosever it is.
//
// Linux deletes by a CTA_FILTER from 6.11 on; an older one gives ErrUnsupported. Of
// IPv6 the kernel compares addresses the wrong way round (see filter.flags), so that
// is refused.
func DeleteUnrepliedUDP(ctx context.Context, source netip.Addr) (n int, err error) {
	u, err := newUnrepliedUDP(source)
	if err != nil {
		return 0, err
	}
	n, err = u.delete(ctx)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return 0, fmt.Errorf("delete unreplied UDP of %v: %w", u.source, err)
	}
	return n, nil
}

// unrepliedUDP says what is meant by an address of IPv4.
type unrepliedUDP struct{ source netip.Addr }

func newUnrepliedUDP(source netip.Addr) (unrepliedUDP, error) {
	u := unrepliedUDP{source.Unmap()}
	if !u.source.Is4() {
		return u, fmt.Errorf("delete unreplied UDP of %v: only of an IPv4 address: of IPv6 the kernel would delete all others", source)
	}
	if u.source.IsUnspecified() {
		return u, fmt.Errorf("delete unreplied UDP of %v: that is no source", source)
	}
	return u, nil
}

// delete first has the same entries dumped, to count them, and to see that the
// kernel understands the filter as it is meant.
func (u unrepliedUDP) delete(ctx context.Context) (n int, err error) {
	c, err := Open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	attributes, err := u.attributes()
	if err != nil {
		return 0, err
	}
	if n, err = u.count(ctx, c, attributes); err != nil {
		return 0, err
	}
	request := message(unix.AF_INET, attributes)
	if err := makeDelete(request); err != nil {
		return 0, err
	}
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	return n, c.dump(ctx, request, c.acknowledged)
}

// attributes is what is meant, in a tuple that is not whole: a kernel that passes
// over the filter would take a whole one for the entry to delete, but refuses this
// one (EINVAL).
func (u unrepliedUDP) attributes() ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	a.Nested(ctaTupleOrig, func(a *netlink.AttributeEncoder) error {
		a.Nested(ctaTupleIP, func(a *netlink.AttributeEncoder) error {
			a.Bytes(ctaIPv4Src, u.source.AsSlice())
			return nil
		})
		a.Nested(ctaTupleProto, func(a *netlink.AttributeEncoder) error {
			a.Uint8(ctaProtoNum, unix.IPPROTO_UDP)
			return nil
		})
		return nil
	})
	a.Nested(ctaFilter, func(a *netlink.AttributeEncoder) error {
		a.ByteOrder = binary.NativeEndian // unlike all else
		a.Uint32(ctaFilterOrigFlags, byIPSrc|byProto)
		a.Uint32(ctaFilterReplyFlags, 0)
		return nil
	})
	a.Uint32(ctaStatus, 0)
	a.Uint32(ctaStatusMask, StatusSeenReply)
	return a.Encode()
}

// count has the kernel dump what is meant. If it sends anything else, it passes over
// a part of the filter, and may do so in a delete.
func (u unrepliedUDP) count(ctx context.Context, c *Conn, attributes []byte) (n int, err error) {
	_, want, err := Query{
		Family: unix.AF_INET, StatusMask: StatusSeenReply, Orig: Match{Src: u.source, Proto: unix.IPPROTO_UDP},
	}.compile()
	if err != nil {
		return 0, err
	}
	others := false
	r := &c.reader
	*r = reader{seq: c.seq + 1, port: c.port, each: func(e *Entry) bool {
		n++
		others = !want.match(e)
		return !others
	}}
	err = c.dump(ctx, message(unix.AF_INET, attributes), func(datagram []byte) error { return reading(r.datagram(datagram)) })
	if others {
		return 0, fmt.Errorf("%w: it passes over a part of the filter", ErrUnsupported)
	}
	return n, err
}

// acknowledged returns errDone for the acknowledgement of a request, and the error
// for a refusal.
func (c *Conn) acknowledged(datagram []byte) error {
	h, body, _, err := cutMessage(datagram)
	if err != nil {
		return err
	}
	if h.seq != c.seq || h.port != c.port {
		return nil
	}
	if h.typ != unix.NLMSG_ERROR {
		return fmt.Errorf("a message of type %#x", h.typ)
	}
	if err := result("NLMSG_ERROR", h, body, unix.SizeofNlMsghdr); err != nil {
		return err
	}
	return errDone
}
