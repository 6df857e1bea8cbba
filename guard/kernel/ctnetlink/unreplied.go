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

// errNoFilter is that this kernel deletes nothing by such a filter, and deleted
// nothing.
var errNoFilter = errors.New("the kernel can't delete by a filter")

// DeleteUnreplied deletes the entries from a source that have not seen a reply, of all
// protocols and zones, in the calling thread's network namespace, and returns how many
// there were. Those whose timeout is fixed or that are in a flow table stay.
//
// Of one IPv4 address Linux 6.11 and later delete them by one message: the kernel goes
// through the table twice, to count and to delete, at 0.2 and 0.4 us for each entry in
// it, whosever it is. Of IPv6 the kernel compares addresses the wrong way round (see
// filter.flags), and it knows no prefixes: then, as on an older kernel, the unreplied
// entries of the family are read, and those of the source deleted one by one. Which of
// them come and go meanwhile may be missed.
func DeleteUnreplied(ctx context.Context, source netip.Prefix) (n int, err error) {
	u, err := newUnreplied(source)
	if err != nil {
		return 0, err
	}
	err = errNoFilter
	if u.single() {
		n, err = u.deleteByFilter(ctx)
	}
	if errors.Is(err, errNoFilter) {
		n, err = u.deleteEach(ctx)
	}
	if err != nil {
		return n, fmt.Errorf("delete unreplied entries of %v: %w", source, err)
	}
	return n, nil
}

// unreplied says what is meant by a prefix, masked.
type unreplied struct{ source netip.Prefix }

func newUnreplied(source netip.Prefix) (unreplied, error) {
	a := source.Addr()
	if !source.IsValid() || source.Masked() != source || a.Is4In6() {
		return unreplied{}, fmt.Errorf("delete unreplied entries of %v: that is no prefix", source)
	}
	if source.Bits() == 0 || source.IsSingleIP() && a.IsUnspecified() {
		return unreplied{}, fmt.Errorf("delete unreplied entries of %v: that is no source", source)
	}
	return unreplied{source}, nil
}

// single is whether the kernel can be told the source.
func (u unreplied) single() bool { return u.source.Addr().Is4() && u.source.IsSingleIP() }

func (u unreplied) family() uint8 {
	if u.source.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// spared are the entries that stay, by any of these bits.
const spared = StatusSeenReply | StatusFixedTimeout | StatusOffload

// deleteByFilter first has the same entries dumped, to count them, and to see that
// the kernel understands the filter as it is meant.
func (u unreplied) deleteByFilter(ctx context.Context) (n int, err error) {
	c, err := Open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	attributes, err := u.attributes()
	if err != nil {
		return 0, err
	}
	if n, err = u.count(ctx, c, attributes); err == nil {
		err = u.send(ctx, c, attributes)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", errNoFilter, err)
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// send sends the delete and waits until it is done.
func (u unreplied) send(ctx context.Context, c *Conn, attributes []byte) error {
	request := message(unix.AF_INET, attributes)
	if err := makeDelete(request); err != nil {
		return err
	}
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	return c.dump(ctx, request, c.acknowledged)
}

// attributes is what is meant, in a tuple that is not whole: a kernel that passes
// over the filter would take a whole one for the entry to delete, but refuses this
// one (EINVAL).
func (u unreplied) attributes() ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	a.Nested(ctaTupleOrig, func(a *netlink.AttributeEncoder) error {
		a.Nested(ctaTupleIP, func(a *netlink.AttributeEncoder) error {
			a.Bytes(ctaIPv4Src, u.source.Addr().AsSlice())
			return nil
		})
		return nil
	})
	a.Nested(ctaFilter, func(a *netlink.AttributeEncoder) error {
		a.ByteOrder = binary.NativeEndian // unlike all else
		a.Uint32(ctaFilterOrigFlags, byIPSrc)
		a.Uint32(ctaFilterReplyFlags, 0)
		return nil
	})
	a.Uint32(ctaStatus, 0)
	a.Uint32(ctaStatusMask, spared)
	return a.Encode()
}

// count has the kernel dump what is meant. If it sends anything else, it passes over
// a part of the filter, and may do so in a delete.
func (u unreplied) count(ctx context.Context, c *Conn, attributes []byte) (n int, err error) {
	others := false
	r := &c.reader
	*r = reader{seq: c.seq + 1, port: c.port, each: func(e *Entry) bool {
		n++
		others = !u.meant(e)
		return !others
	}}
	err = c.dump(ctx, message(unix.AF_INET, attributes), func(datagram []byte) error { return reading(r.datagram(datagram)) })
	if others {
		return 0, fmt.Errorf("%w: it passes over a part of the filter", errNoFilter)
	}
	return n, err
}

// meant is whether an entry is one of those to delete.
func (u unreplied) meant(e *Entry) bool {
	return e.Family == u.family() && e.Status&spared == 0 && u.source.Contains(e.Orig.Src.Netip())
}

// deleteEach reads the unreplied entries and deletes those of the source, datagram by
// datagram: the time between is better short (see Batch).
func (u unreplied) deleteEach(ctx context.Context) (n int, err error) {
	c, err := Open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	b, err := OpenBatch()
	if err != nil {
		return 0, err
	}
	defer b.Close()
	var all Sent
	var strange error // an entry that can't be named
	send := func(int) error {
		if b.Len() == 0 {
			return nil
		}
		sent, err := b.Send(ctx)
		all.Add(sent)
		return err
	}
	each := func(e *Entry) bool {
		if u.meant(e) {
			if err := b.Delete(e); err != nil {
				strange = err
			}
		}
		return true
	}
	_, err = c.Walk(ctx, Query{Family: u.family(), StatusMask: spared}, each, send)
	if err == nil {
		err = send(0) // what the last datagram had
	}
	if err == nil && all.Refused > 0 {
		err = fmt.Errorf("%d refused: %w", all.Refused, all.Refusal)
	}
	return all.Deleted, errors.Join(err, strange)
}

// Add adds what became of more changes.
func (s *Sent) Add(more Sent) {
	s.Deleted += more.Deleted
	s.Retimed += more.Retimed
	s.Gone += more.Gone
	s.Refused += more.Refused
	if more.Refusal != 0 {
		s.Refusal = more.Refusal
	}
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
