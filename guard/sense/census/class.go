package census

import (
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// A class is the sysctl that gives an entry its timeout. Those of TCP have the
// number of the state.
type class uint8

const (
	noClass        class = ctnetlink.TCPNone // has no sysctl, or none that the entry tells
	tcpSynSent     class = ctnetlink.TCPSynSent
	tcpEstablished class = ctnetlink.TCPEstablished
	tcpSynSent2    class = ctnetlink.TCPSynSent2
)

const (
	tcpUnacknowledged class = iota + tcpSynSent2 + 1
	udp
	udpStream
	icmp
	icmpv6
	gre
	greStream
	sctp
	dccp
	generic
	classes
)

// classNames are the sysctls without nf_conntrack_. SYN_SENT2 has a timeout but
// no key; SCTP and DCCP have one for each state, which an Entry does not hold.
var classNames = [classes]string{
	tcpSynSent:             "tcp_timeout_syn_sent",
	ctnetlink.TCPSynRecv:   "tcp_timeout_syn_recv",
	tcpEstablished:         "tcp_timeout_established",
	ctnetlink.TCPFinWait:   "tcp_timeout_fin_wait",
	ctnetlink.TCPCloseWait: "tcp_timeout_close_wait",
	ctnetlink.TCPLastAck:   "tcp_timeout_last_ack",
	ctnetlink.TCPTimeWait:  "tcp_timeout_time_wait",
	ctnetlink.TCPClose:     "tcp_timeout_close",
	tcpSynSent2:            "tcp_timeout_syn_sent2",
	tcpUnacknowledged:      "tcp_timeout_unacknowledged",
	udp:                    "udp_timeout",
	udpStream:              "udp_timeout_stream",
	icmp:                   "icmp_timeout",
	icmpv6:                 "icmpv6_timeout",
	gre:                    "gre_timeout",
	greStream:              "gre_timeout_stream",
	sctp:                   "sctp_timeout",
	dccp:                   "dccp_timeout",
	generic:                "generic_timeout",
}

// maxRetrans is the sysctl that shortens the timeout of a TCP entry whose
// segments stay unanswered, in any state.
const maxRetrans = "tcp_timeout_max_retrans"

// timeouts are the sysctls by class, in seconds, 0 for one that is not there.
type timeouts struct {
	of         [classes]int
	maxRetrans int
	sctp, dccp bool // the kernel has keys for their states
}

// A silence is how many seconds an entry has left that has long been silent:
// more than over, at most max.
type silence struct{ over, max int64 }

// holds reports whether an entry with so much time left is silent.
func (s silence) holds(left uint32) bool { return int64(left) > s.over && int64(left) <= s.max }

// never is the silence of an entry that can't be told to be silent.
var never = silence{over: 0, max: -1}

// RFC 5382, REQ-5, lets a NAT forget a TCP connection that was silent for 2 h
// 4 min. UDP has no end that could be seen; a live exchange is not silent for
// long.
const (
	idle    = 7440
	deadUDP = 10
)

// silences returns how an entry of each class tells that it is silent. Its
// timeout began with its last packet: it was silent for as long as is gone of it.
//
// A connection in ESTABLISHED that waits for an answer runs on another sysctl,
// which the dump does not tell (nf_conntrack_tcp_packet): on max_retrans or
// unacknowledged, both 300 s. With no more than that left it may be one of
// those, silent for seconds, and is not counted.
func (t *timeouts) silences() (s [classes]silence) {
	for c := range s {
		s[c] = never
	}
	for _, c := range []class{udp, udpStream} {
		s[c] = silence{over: -1, max: int64(t.of[c]) - deadUDP}
	}
	waits := max(t.maxRetrans, t.of[tcpUnacknowledged])
	s[tcpEstablished] = silence{over: int64(waits), max: int64(t.of[tcpEstablished]) - idle}
	return s
}

// A rule says of which class an entry is: by bit of its status, clear and set.
type rule struct {
	clear, set class
	bit        uint32
}

func (r rule) of(status uint32) class {
	if status&r.bit != 0 {
		return r.set
	}
	return r.clear
}

// protocolRules are the rules of every protocol but TCP. UDP and GRE give the
// stream's timeout to a packet for which they also set ASSURED
// (nf_conntrack_udp_packet, nf_conntrack_gre_packet). A protocol without keys is
// one that the kernel does not know.
func (t *timeouts) protocolRules() (rules [256]rule) {
	for proto := range rules {
		rules[proto] = rule{clear: generic}
	}
	stream := func(clear, set class) rule { return rule{clear, set, ctnetlink.StatusAssured} }
	rules[unix.IPPROTO_UDP] = stream(udp, udpStream)
	rules[unix.IPPROTO_UDPLITE] = stream(udp, udpStream)
	rules[unix.IPPROTO_ICMP] = rule{clear: icmp}
	rules[unix.IPPROTO_ICMPV6] = rule{clear: icmpv6}
	if t.sctp {
		rules[unix.IPPROTO_SCTP] = rule{clear: sctp}
	}
	if t.dccp {
		rules[unix.IPPROTO_DCCP] = rule{clear: dccp}
	}
	if t.of[gre] != 0 {
		rules[unix.IPPROTO_GRE] = stream(gre, greStream)
	}
	return rules
}

// tcpRules are the rules by TCP state. A connection that was picked up in its
// middle and has no answer yet does not get the long timeout of ESTABLISHED
// (nf_conntrack_tcp_packet).
func (t *timeouts) tcpRules() (rules [256]rule) {
	for state := tcpSynSent; state <= tcpSynSent2; state++ {
		rules[state] = rule{clear: state}
	}
	if short := t.of[tcpUnacknowledged]; short != 0 && short < t.of[tcpEstablished] {
		rules[tcpEstablished] = rule{tcpUnacknowledged, tcpEstablished, ctnetlink.StatusSeenReply}
	}
	return rules
}
