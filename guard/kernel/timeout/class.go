package timeout

import "github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"

// A Class is the sysctl that gives an entry its timeout. Those of TCP have the
// number of the state.
type Class uint8

// None is the class of an entry that has no sysctl, or none that it tells.
const None Class = ctnetlink.TCPNone

// The classes of TCP by state. No kernel has a key for SYN_SENT2.
const (
	TCPSynSent     Class = ctnetlink.TCPSynSent
	TCPSynRecv     Class = ctnetlink.TCPSynRecv
	TCPEstablished Class = ctnetlink.TCPEstablished
	TCPFinWait     Class = ctnetlink.TCPFinWait
	TCPCloseWait   Class = ctnetlink.TCPCloseWait
	TCPLastAck     Class = ctnetlink.TCPLastAck
	TCPTimeWait    Class = ctnetlink.TCPTimeWait
	TCPClose       Class = ctnetlink.TCPClose
	TCPSynSent2    Class = ctnetlink.TCPSynSent2
)

// All other classes. DCCP has a key for each state, which an Entry does not hold:
// it is one class without a key.
const (
	Unacknowledged Class = iota + TCPSynSent2 + 1 // TCP picked up half-way and not answered yet
	UDP                                           // not assured
	UDPStream                                     // assured
	ICMP
	ICMPv6
	GRE       // not assured
	GREStream // assured
	SCTPClosed
	SCTPCookieWait
	SCTPCookieEchoed
	SCTPEstablished
	SCTPShutdownSent
	SCTPShutdownRecd
	SCTPShutdownAckSent
	SCTPHeartbeatSent
	SCTPHeartbeatAcked // of kernels up to 6.1
	DCCP
	Generic // of protocols that the kernel does not track by themselves

	// Classes is how many there are, None among them.
	Classes
)

// Spared is how many seconds an entry is given at the least when it is to end sooner.
// The kernel does not look whether the tuple is still the same entry's, and a new
// connection is refreshed by its next packet: that must be in time.
const Spared = 3

// names are the sysctls without nf_conntrack_.
var names = [Classes]string{
	TCPSynSent:          "tcp_timeout_syn_sent",
	TCPSynRecv:          "tcp_timeout_syn_recv",
	TCPEstablished:      "tcp_timeout_established",
	TCPFinWait:          "tcp_timeout_fin_wait",
	TCPCloseWait:        "tcp_timeout_close_wait",
	TCPLastAck:          "tcp_timeout_last_ack",
	TCPTimeWait:         "tcp_timeout_time_wait",
	TCPClose:            "tcp_timeout_close",
	TCPSynSent2:         "tcp_timeout_syn_sent2",
	Unacknowledged:      "tcp_timeout_unacknowledged",
	UDP:                 "udp_timeout",
	UDPStream:           "udp_timeout_stream",
	ICMP:                "icmp_timeout",
	ICMPv6:              "icmpv6_timeout",
	GRE:                 "gre_timeout",
	GREStream:           "gre_timeout_stream",
	SCTPClosed:          "sctp_timeout_closed",
	SCTPCookieWait:      "sctp_timeout_cookie_wait",
	SCTPCookieEchoed:    "sctp_timeout_cookie_echoed",
	SCTPEstablished:     "sctp_timeout_established",
	SCTPShutdownSent:    "sctp_timeout_shutdown_sent",
	SCTPShutdownRecd:    "sctp_timeout_shutdown_recd",
	SCTPShutdownAckSent: "sctp_timeout_shutdown_ack_sent",
	SCTPHeartbeatSent:   "sctp_timeout_heartbeat_sent",
	SCTPHeartbeatAcked:  "sctp_timeout_heartbeat_acked",

	DCCP:    "dccp_timeout",
	Generic: "generic_timeout",
}

// Name is the sysctl without net.netfilter.nf_conntrack_, the class's name
// everywhere: "tcp_timeout_time_wait". That of None is empty.
func (c Class) Name() string { return names[c] }

// prefix is what the keys begin with.
const prefix = "net.netfilter.nf_conntrack_"

// Key is the name of the sysctl: "net.netfilter.nf_conntrack_tcp_timeout_time_wait".
// A kernel need not have it.
func (c Class) Key() string { return prefix + names[c] }

// ByName finds a class by its Name.
func ByName(name string) (Class, bool) {
	for c := None + 1; c < Classes; c++ {
		if names[c] == name {
			return c, true
		}
	}
	return None, false
}

// TCP reports whether the class has TCP entries.
func (c Class) TCP() bool { return c != None && c <= Unacknowledged }
