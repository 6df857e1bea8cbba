package ctnetlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A form is what the entries of one kind have in common: where their attributes
// are. Nearly all entries of nearly all tables are of few kinds. Which attributes
// there are and where, is told by their headers alone: those are compared with the
// form's, and values are then read from where they are. That takes 40 ns for
// an entry, to go through the attributes takes 120 to 190 ns.
type form struct {
	size          int // of the body, which is never 0; 0 is no form
	headers       [formHeaders]placed
	count         int // of the headers
	at            [fields]uint16
	family, proto uint8
}

// A placed word is a header, or whatever else must be the same.
type placed struct {
	at   uint16
	word uint32
}

// Entries are larger than formSize or have more headers than formHeaders only with
// labels, a helper or a long security context.
const (
	formSize    = 512
	formHeaders = 40
)

// Fields of an entry, by which a form has their places. A place of 0 is none.
const (
	noField = iota
	origSrc
	origDst
	origNum
	origSrcPort
	origDstPort
	replySrc
	replyDst
	replyNum
	replySrcPort
	replyDstPort
	status
	timeout
	mark
	use
	id
	zone
	tcpState
	sctpState
	fields
)

// A branch is an attribute that is read: a field's, or a nest of such.
type branch struct {
	field int
	nest  *[ctaZone + 1]branch
}

var formRoot = [ctaZone + 1]branch{
	ctaTupleOrig:  {nest: tupleBranch(origSrc, origDst, origNum, origSrcPort, origDstPort)},
	ctaTupleReply: {nest: tupleBranch(replySrc, replyDst, replyNum, replySrcPort, replyDstPort)},
	ctaStatus:     {field: status},
	ctaTimeout:    {field: timeout},
	ctaMark:       {field: mark},
	ctaUse:        {field: use},
	ctaID:         {field: id},
	ctaZone:       {field: zone},
	ctaProtoInfo: {nest: &[ctaZone + 1]branch{
		ctaProtoInfoTCP:  {nest: &[ctaZone + 1]branch{ctaTCPState: {field: tcpState}}},
		ctaProtoInfoSCTP: {nest: &[ctaZone + 1]branch{ctaSCTPState: {field: sctpState}}},
	}},
}

func tupleBranch(src, dst, num, srcPort, dstPort int) *[ctaZone + 1]branch {
	return &[ctaZone + 1]branch{
		ctaTupleIP: {nest: &[ctaZone + 1]branch{
			ctaIPv4Src: {field: src}, ctaIPv4Dst: {field: dst}, ctaIPv6Src: {field: src}, ctaIPv6Dst: {field: dst},
		}},
		ctaTupleProto: {nest: &[ctaZone + 1]branch{
			ctaProtoNum: {field: num}, ctaProtoSrcPort: {field: srcPort}, ctaProtoDstPort: {field: dstPort},
		}},
	}
}

// learn makes the form of a body that p has read without an error. There is none of
// protocols without ports, nor with a zone that is for one direction only.
func (f *form) learn(body []byte, p *parser) {
	if p.Proto == unix.IPPROTO_ICMP || p.Proto == unix.IPPROTO_ICMPV6 || len(body) > formSize {
		return
	}
	*f = form{family: p.Family, proto: p.Proto}
	if !f.walk(body, nfgenmsg, len(body), &formRoot) {
		return
	}
	ports := f.at[origDstPort] != 0 && f.at[replyDstPort] != 0 // one has both ports or none
	if ports && p.zoned == (f.at[zone] != 0) {
		f.size = len(body)
	}
}

// walk notes the headers and fields of what is between from and to. It is not ok
// if there are too many.
func (f *form) walk(body []byte, from, to int, of *[ctaZone + 1]branch) (ok bool) {
	for from < to {
		typ, size := attribute(body[from:to])
		if size == 0 || f.count == formHeaders {
			return false
		}
		f.headers[f.count] = placed{uint16(from), binary.NativeEndian.Uint32(body[from:])}
		f.count++
		value, end := from+attributeHeader, from+size
		from += (size + 3) &^ 3
		if int(typ) >= len(of) {
			continue
		}
		b := of[typ]
		f.at[b.field] = uint16(value)
		if b.nest != nil && !f.walk(body, value, end, b.nest) {
			return false
		}
	}
	f.at[noField] = 0
	return true
}

// fits reports whether a body is of that form: whether its family, its headers and
// its protocol are the same.
func (f *form) fits(body []byte) bool {
	if len(body) != f.size || body[0] != f.family {
		return false
	}
	other := uint32(0)
	for i := range f.headers[:f.count] {
		h := &f.headers[i]
		other |= binary.NativeEndian.Uint32(body[h.at:]) ^ h.word
	}
	if other != 0 {
		return false
	}
	return body[f.at[origNum]] == f.proto && body[f.at[replyNum]] == f.proto
}

// read reads a body that fits: it reads what the headers that were compared say is
// there. It writes to all of the entry.
func (f *form) read(body []byte, e *Entry) {
	f.readAddresses(body, e)
	e.Orig.SrcPort = binary.BigEndian.Uint16(body[f.at[origSrcPort]:])
	e.Orig.DstPort = binary.BigEndian.Uint16(body[f.at[origDstPort]:])
	e.Reply.SrcPort = binary.BigEndian.Uint16(body[f.at[replySrcPort]:])
	e.Reply.DstPort = binary.BigEndian.Uint16(body[f.at[replyDstPort]:])
	e.ID = binary.BigEndian.Uint32(body[f.at[id]:])
	e.Status = binary.BigEndian.Uint32(body[f.at[status]:])
	e.Mark, e.Use, e.Timeout, e.Zone, e.OrigZone, e.ReplyZone, e.TCPState, e.SCTPState = 0, 0, 0, 0, 0, 0, 0, 0
	e.Family, e.Proto = f.family, f.proto
	if at := f.at[timeout]; at != 0 {
		e.Timeout = binary.BigEndian.Uint32(body[at:])
	}
	if at := f.at[use]; at != 0 {
		e.Use = binary.BigEndian.Uint32(body[at:])
	}
	if at := f.at[mark]; at != 0 {
		e.Mark = binary.BigEndian.Uint32(body[at:])
	}
	if at := f.at[zone]; at != 0 {
		e.Zone = binary.BigEndian.Uint16(body[at:])
		e.OrigZone, e.ReplyZone = e.Zone, e.Zone
	}
	if at := f.at[tcpState]; at != 0 {
		e.TCPState = body[at]
	}
	if at := f.at[sctpState]; at != 0 {
		e.SCTPState = body[at]
	}
	e.Offloaded = offloaded(e.Status, f.at[timeout] != 0)
}

func (f *form) readAddresses(body []byte, e *Entry) {
	src, dst := body[f.at[origSrc]:], body[f.at[origDst]:]
	replySrc, replyDst := body[f.at[replySrc]:], body[f.at[replyDst]:]
	if f.family == unix.AF_INET6 {
		e.Orig.Src, e.Orig.Dst = Addr(src[:16]), Addr(dst[:16])
		e.Reply.Src, e.Reply.Dst = Addr(replySrc[:16]), Addr(replyDst[:16])
		return
	}
	e.Orig.Src.setIPv4(src)
	e.Orig.Dst.setIPv4(dst)
	e.Reply.Src.setIPv4(replySrc)
	e.Reply.Dst.setIPv4(replyDst)
}

// setIPv4 sets an IPv4 address of 4 bytes in its mapped form.
func (a *Addr) setIPv4(b []byte) {
	// As two words, not as bytes: a processor can't read together soon what it has
	// just written in pieces.
	binary.BigEndian.PutUint64(a[:], 0)
	binary.BigEndian.PutUint64(a[8:], 0xffff<<32|uint64(binary.BigEndian.Uint32(b)))
}
