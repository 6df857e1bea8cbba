package ctnetlink

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Query says which entries are wanted. Its zero value wants all, of both
// families; a prefix can't be asked for.
//
// What the kernel can tell apart never leaves it (see request.go); the rest is
// received and skipped. Either way only what matches is handed on.
type Query struct {
	Family             uint8   // unix.AF_INET or unix.AF_INET6; 0 is that of the addresses, or both
	Status, StatusMask uint32  // entries with these bits, of those in the mask
	Mark, MarkMask     uint32  // entries with this mark, in the bits of the mask
	Zone               *uint16 // nil is any zone
	Orig, Reply        Match
}

// A Match is what a tuple shall be; what is zero may be anything. Ports are those
// of Tuple, with what it says of ICMP.
type Match struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	Proto            uint8 // unix.IPPROTO_*
}

// A filter is a query made ready to be compared. Its Family is the only one that
// can match, 0 if both can.
type filter struct {
	Query
	orig, reply tupleFilter
}

type tupleFilter struct {
	bySrc, byDst bool
	src, dst     Addr
}

// compile checks q and returns the request for the kernel, without a sequence
// number, and the filter for what it answers.
func (q Query) compile() (request []byte, f filter, err error) {
	if q.Status&^q.StatusMask != 0 {
		return nil, f, fmt.Errorf("query: status %#x is not within the mask %#x", q.Status, q.StatusMask)
	}
	if q.Mark&^q.MarkMask != 0 {
		return nil, f, fmt.Errorf("query: mark %#x is not within the mask %#x", q.Mark, q.MarkMask)
	}
	if q.Family != 0 && q.Family != unix.AF_INET && q.Family != unix.AF_INET6 {
		return nil, f, fmt.Errorf("query: address family %d", q.Family)
	}
	f = filter{Query: q, orig: q.Orig.addresses(), reply: q.Reply.addresses()}
	for _, a := range []netip.Addr{q.Orig.Src, q.Orig.Dst, q.Reply.Src, q.Reply.Dst} {
		if f.Family, err = familyWith(f.Family, a); err != nil {
			return nil, f, err
		}
	}
	request, err = f.request()
	return request, f, err
}

// familyWith is the one family that has the address a and is family, if that is
// not 0.
func familyWith(family uint8, a netip.Addr) (uint8, error) {
	if !a.IsValid() {
		return family, nil
	}
	if a.Zone() != "" {
		return 0, fmt.Errorf("query: %s: an entry knows no interface", a)
	}
	of := uint8(unix.AF_INET6)
	if a.Unmap().Is4() {
		of = unix.AF_INET
	}
	if family != 0 && family != of {
		return 0, errors.New("query: IPv4 and IPv6 at once, which no entry is")
	}
	return of, nil
}

func (m Match) addresses() (t tupleFilter) {
	if m.Src.IsValid() {
		t.bySrc, t.src = true, m.Src.As16()
	}
	if m.Dst.IsValid() {
		t.byDst, t.dst = true, m.Dst.As16()
	}
	return t
}

func (f *filter) match(e *Entry) bool {
	return (f.Family == 0 || e.Family == f.Family) &&
		e.Status&f.StatusMask == f.Status &&
		e.Mark&f.MarkMask == f.Mark &&
		(f.Zone == nil || e.Zone == *f.Zone) &&
		f.orig.match(&e.Orig) && f.Orig.match(&e.Orig, e.Proto) &&
		f.reply.match(&e.Reply) && f.Reply.match(&e.Reply, e.Proto)
}

func (f *tupleFilter) match(t *Tuple) bool {
	return (!f.bySrc || t.Src == f.src) && (!f.byDst || t.Dst == f.dst)
}

// match compares all but the addresses.
func (m *Match) match(t *Tuple, proto uint8) bool {
	return (m.Proto == 0 || m.Proto == proto) &&
		(m.SrcPort == 0 || m.SrcPort == t.SrcPort) &&
		(m.DstPort == 0 || m.DstPort == t.DstPort)
}
