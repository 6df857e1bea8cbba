package ctnetlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nfgenmsg is the size of the struct of that name, at the head of each body: the
// family, a version and a resource id.
const nfgenmsg = 4

// Attributes of an entry, enum ctattr_type and ctattr_protoinfo in
// nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaTimeout    = 7
	ctaMark       = 8
	ctaUse        = 11
	ctaID         = 12
	ctaZone       = 18

	ctaProtoInfoTCP  = 1
	ctaProtoInfoSCTP = 3
	ctaTCPState      = 1
	ctaSCTPState     = 1
)

var (
	entryLevel = levelOf(map[uint16]string{
		ctaTupleOrig: "CTA_TUPLE_ORIG", ctaTupleReply: "CTA_TUPLE_REPLY", ctaStatus: "CTA_STATUS",
		ctaProtoInfo: "CTA_PROTOINFO", ctaTimeout: "CTA_TIMEOUT", ctaMark: "CTA_MARK", ctaUse: "CTA_USE", ctaID: "CTA_ID",
		ctaZone: "CTA_ZONE",
	})
	protoInfoLevel = levelOf(map[uint16]string{ctaProtoInfoTCP: "CTA_PROTOINFO_TCP", ctaProtoInfoSCTP: "CTA_PROTOINFO_SCTP"})
	tcpLevel       = levelOf(map[uint16]string{ctaTCPState: "CTA_PROTOINFO_TCP_STATE"})
	sctpLevel      = levelOf(map[uint16]string{ctaSCTPState: "CTA_PROTOINFO_SCTP_STATE"})
)

// always is what ctnetlink_fill_info puts into each entry of a dump. Of the rest,
// CTA_TIMEOUT and CTA_PROTOINFO are left out for an offloaded entry, CTA_PROTOINFO
// for most protocols, CTA_ZONE for the default zone, and CTA_MARK by a kernel without
// CONFIG_NF_CONNTRACK_MARK.
var always = setOf(ctaTupleOrig, ctaTupleReply, ctaStatus, ctaID)

// A parser fills one Entry again and again.
type parser struct {
	Entry
	zoned bool       // Zone was given
	tcp   bool       // TCPState was given
	sctp  bool       // SCTPState was given
	forms [2][8]form // by family and size
}

// parse reads the body of an IPCTNL_MSG_CT_NEW into the Entry, which is of no use
// after an error.
func (p *parser) parse(body []byte) error {
	if len(body) < nfgenmsg {
		return fmt.Errorf("%d bytes are too short for struct nfgenmsg", len(body))
	}
	f := p.form(body)
	if f.fits(body) {
		f.read(body, &p.Entry)
		return nil
	}
	if err := p.attributes(body); err != nil {
		return err
	}
	f.learn(body, p)
	return nil
}

// form is the place of the form that a body may have. TCP and UDP of a family differ
// in size, so that each has its own.
func (p *parser) form(body []byte) *form {
	forms := &p.forms[0]
	if body[0] == unix.AF_INET6 {
		forms = &p.forms[1]
	}
	return &forms[len(body)/4%len(forms)]
}

// attributes reads a body of whatever form.
func (p *parser) attributes(body []byte) error {
	p.Entry, p.zoned, p.tcp, p.sctp = Entry{Family: body[0]}, false, false, false
	if p.Family != unix.AF_INET && p.Family != unix.AF_INET6 {
		return fmt.Errorf("address family %d", p.Family)
	}
	var reply uint8
	n := nest{level: entryLevel, b: body[nfgenmsg:]}
	for n.next() {
		switch n.typ {
		case ctaTupleOrig:
			p.Proto, n.err = p.tuple(n.value(), &p.Orig)
		case ctaTupleReply:
			reply, n.err = p.tuple(n.value(), &p.Reply)
		case ctaStatus:
			p.Status = n.u32()
		case ctaProtoInfo:
			n.err = p.protoInfo(n.value())
		case ctaTimeout:
			p.Timeout = n.u32()
		case ctaMark:
			p.Mark = n.u32()
		case ctaUse:
			p.Use = n.u32()
		case ctaID:
			p.ID = n.u32()
		case ctaZone:
			p.zone(&n, true, true)
		}
	}
	if n.err != nil {
		return n.failure()
	}
	if err := n.lacks(always); err != nil {
		return err
	}
	return p.finish(reply, n.seen)
}

// finish checks what one attribute says against another.
func (p *parser) finish(reply uint8, seen set) error {
	if reply != p.Proto {
		return fmt.Errorf("protocol %d with a reply of protocol %d", p.Proto, reply)
	}
	if p.tcp && p.Proto != unix.IPPROTO_TCP {
		return fmt.Errorf("protocol %d with a TCP state", p.Proto)
	}
	if p.sctp && p.Proto != unix.IPPROTO_SCTP {
		return fmt.Errorf("protocol %d with an SCTP state", p.Proto)
	}
	p.Offloaded = offloaded(p.Status, seen&(1<<ctaTimeout) != 0)
	return nil
}

// offloaded reports whether an entry is in a flow table. The kernel looks at
// IPS_OFFLOAD twice, for CTA_STATUS and later for whether to tell the timeout, and
// the bit may have been set in between.
func offloaded(status uint32, timeout bool) bool { return status&StatusOffload != 0 || !timeout }

var errZones = errors.New("a zone was already given")

// zone reads the zone, which is in one place of three: beside the tuples if it is
// for both directions, in the tuple that it is for otherwise.
func (p *parser) zone(n *nest, ofOrig, ofReply bool) {
	if p.zoned {
		n.err = errZones
		return
	}
	p.zoned = true
	p.Zone = n.u16()
	if ofOrig {
		p.OrigZone = p.Zone
	}
	if ofReply {
		p.ReplyZone = p.Zone
	}
}

func (p *parser) protoInfo(value []byte) error {
	n := nest{level: protoInfoLevel, b: value}
	for n.next() {
		if n.typ == ctaProtoInfoTCP {
			n.err = p.tcpInfo(n.value())
		} else {
			n.err = p.sctpInfo(n.value())
		}
	}
	return n.failure()
}

func (p *parser) tcpInfo(value []byte) error {
	n := nest{level: tcpLevel, b: value}
	for n.next() {
		p.TCPState, p.tcp = n.u8(), true
	}
	return n.failure()
}

func (p *parser) sctpInfo(value []byte) error {
	n := nest{level: sctpLevel, b: value}
	for n.next() {
		p.SCTPState, p.sctp = n.u8(), true
	}
	return n.failure()
}
