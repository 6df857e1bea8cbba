package lab

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// Attributes of ctnetlink, nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaTimeout    = 7

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ctaProtoInfoTCP = 1
	ctaTCPState     = 1
	ctaTCPFlagsOrig = 4
	ctaTCPFlagsRep  = 5

	// IP_CT_TCP_FLAG_BE_LIBERAL: the windows of an entry that saw no packet are
	// unknown, so traffic on it must not be judged by them.
	tcpLiberal = 0x08
)

// An entryMessage is one IPCTNL_MSG_CT_NEW, marshalled once. Only the tuple
// differs from entry to entry, and it is patched in place.
type entryMessage struct {
	bytes   []byte
	sources uint64

	origSrc, origDst, origPort    int // offsets of address and source port
	replySrc, replyDst, replyPort int // of the reply: the same, mirrored
}

// The placeholders by which the patched fields are found. No other bytes of the
// message can equal them.
var (
	markSrc  = [4]byte{0xfb, 0xa1, 0xfb, 0xa2}
	markDst  = [4]byte{0xfb, 0xb1, 0xfb, 0xb2}
	markPort = uint16(0xfbc1)
)

const fillPort = 443 // the destination port of every entry

func newEntryMessage(e Entries) (*entryMessage, error) {
	if e.Timeout < time.Second {
		return nil, fmt.Errorf("make entries: timeout of %s is under a second", e.Timeout)
	}
	attrs, err := entryAttributes(e)
	if err != nil {
		return nil, fmt.Errorf("marshal entry: %w", err)
	}
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_EXCL)
	m := &entryMessage{
		bytes:   finish(append(appendHeader(nil, ctNew, flags), attrs...)),
		sources: uint64(max(e.Sources, 1)),
	}
	port := binary.BigEndian.AppendUint16(nil, markPort)
	m.origSrc, m.replyDst = twice(m.bytes, markSrc[:])
	m.origDst, m.replySrc = twice(m.bytes, markDst[:])
	m.origPort, m.replyPort = twice(m.bytes, port)
	return m, nil
}

// number makes the message that of the i-th entry. Source ports and
// destinations number the entries, so the choice of the source is free.
func (m *entryMessage) number(i uint64) {
	src := nth(fillNet, uint32(i%m.sources)).As4()
	dst := nth(fillDst, uint32(i/tuplePorts)).As4()
	port := firstPort + uint16(i%tuplePorts)
	copy(m.bytes[m.origSrc:], src[:])
	copy(m.bytes[m.replyDst:], src[:])
	copy(m.bytes[m.origDst:], dst[:])
	copy(m.bytes[m.replySrc:], dst[:])
	binary.BigEndian.PutUint16(m.bytes[m.origPort:], port)
	binary.BigEndian.PutUint16(m.bytes[m.replyPort:], port)
}

func entryAttributes(e Entries) ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	a.Nested(ctaTupleOrig, tuple(markSrc, markDst, markPort, fillPort, e.Proto))
	a.Nested(ctaTupleReply, tuple(markDst, markSrc, fillPort, markPort, e.Proto))
	a.Uint32(ctaStatus, uint32(e.status()))
	a.Uint32(ctaTimeout, uint32(e.Timeout/time.Second))
	if e.Proto == unix.IPPROTO_TCP {
		a.Nested(ctaProtoInfo, func(a *netlink.AttributeEncoder) error {
			a.Nested(ctaProtoInfoTCP, func(a *netlink.AttributeEncoder) error {
				a.Uint8(ctaTCPState, e.State)
				a.Bytes(ctaTCPFlagsOrig, []byte{tcpLiberal, tcpLiberal}) // flags and mask
				a.Bytes(ctaTCPFlagsRep, []byte{tcpLiberal, tcpLiberal})
				return nil
			})
			return nil
		})
	}
	return a.Encode()
}

func tuple(src, dst [4]byte, sport, dport uint16, proto uint8) func(*netlink.AttributeEncoder) error {
	return func(a *netlink.AttributeEncoder) error {
		a.Nested(ctaTupleIP, func(a *netlink.AttributeEncoder) error {
			a.Bytes(ctaIPv4Src, src[:])
			a.Bytes(ctaIPv4Dst, dst[:])
			return nil
		})
		a.Nested(ctaTupleProto, func(a *netlink.AttributeEncoder) error {
			a.Uint8(ctaProtoNum, proto)
			a.Uint16(ctaProtoSrc, sport)
			a.Uint16(ctaProtoDst, dport)
			return nil
		})
		return nil
	}
}

// status is that of an entry which has seen packets of the kind.
func (e Entries) status() conntrack.Status {
	s := conntrack.StatusConfirmed
	if e.Assured {
		s |= conntrack.StatusSeenReply | conntrack.StatusAssured
	}
	return s
}
