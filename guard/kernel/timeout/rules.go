package timeout

import (
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// Rules say of which class an entry is. They are for a walk of the whole table: two
// look-ups an entry.
type Rules struct {
	tcp    [256]rule // by state
	sctp   [256]rule // by state
	others [256]rule // by protocol
}

// Rules returns the rules of a namespace that has these timeouts.
func (t *Table) Rules() *Rules {
	return &Rules{tcp: t.tcpRules(), sctp: t.sctpRules(), others: t.protocolRules()}
}

// Class is the class of an entry that has no timeout of its own.
func (r *Rules) Class(e *ctnetlink.Entry) Class {
	switch e.Proto {
	case unix.IPPROTO_TCP:
		return r.tcp[e.TCPState].of(e.Status)
	case unix.IPPROTO_SCTP:
		return r.sctp[e.SCTPState].of(e.Status)
	}
	return r.others[e.Proto].of(e.Status)
}

// A rule says of which class an entry is: by bit of its status, clear and set.
type rule struct {
	clear, set Class
	bit        uint32
}

func (r rule) of(status uint32) Class {
	if status&r.bit != 0 {
		return r.set
	}
	return r.clear
}

// protocolRules are the rules of every protocol but TCP and SCTP. UDP and GRE give the
// stream's timeout to a packet for which they also set ASSURED
// (nf_conntrack_udp_packet, nf_conntrack_gre_packet). A protocol without keys is
// one that the kernel does not know.
func (t *Table) protocolRules() (rules [256]rule) {
	for proto := range rules {
		rules[proto] = rule{clear: Generic}
	}
	stream := func(clear, set Class) rule { return rule{clear, set, ctnetlink.StatusAssured} }
	rules[unix.IPPROTO_UDP] = stream(UDP, UDPStream)
	rules[unix.IPPROTO_UDPLITE] = stream(UDP, UDPStream)
	rules[unix.IPPROTO_ICMP] = rule{clear: ICMP}
	rules[unix.IPPROTO_ICMPV6] = rule{clear: ICMPv6}
	if t.DCCP {
		rules[unix.IPPROTO_DCCP] = rule{clear: DCCP}
	}
	if t.Of[GRE] != 0 {
		rules[unix.IPPROTO_GRE] = stream(GRE, GREStream)
	}
	return rules
}

// tcpRules are the rules by TCP state. A connection that was picked up in its
// middle and has no answer yet does not get the long timeout of ESTABLISHED
// (nf_conntrack_tcp_packet).
func (t *Table) tcpRules() (rules [256]rule) {
	for state := TCPSynSent; state <= TCPSynSent2; state++ {
		rules[state] = rule{clear: state}
	}
	if short := t.Of[Unacknowledged]; short != 0 && short < t.Of[TCPEstablished] {
		rules[TCPEstablished] = rule{Unacknowledged, TCPEstablished, ctnetlink.StatusSeenReply}
	}
	return rules
}

// sctpRules are the rules by SCTP state (sctp_packet in nf_conntrack_proto_sctp.c).
func (t *Table) sctpRules() (rules [256]rule) {
	for state := range rules {
		switch c := SCTPClosed + Class(state) - ctnetlink.SCTPClosed; {
		case t.Of[SCTPEstablished] == 0:
			rules[state] = rule{clear: Generic}
		case ctnetlink.SCTPClosed <= state && state <= ctnetlink.SCTPHeartbeatAcked:
			rules[state] = rule{clear: c}
		}
	}
	return rules
}
