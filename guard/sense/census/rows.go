package census

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// rows is how long a list of a Report is at most.
const rows = Rows

// Rows is how long a list of a Report is at most.
const Rows = 100

// A counted is a key with its counter.
type counted[K comparable] struct {
	key K
	slot
}

// top returns the keys with the largest counts, largest first. Equal ones are in
// the order of their bytes, so the list does not depend on the seed.
func top[K comparable](s *sketch[K]) []counted[K] {
	largest := make([]counted[K], 0, rows+1)
	for i := range s.slots {
		at := counted[K]{s.keys[i], s.slots[i]}
		if at.count == 0 || len(largest) == rows && larger(largest[rows-1], at) < 0 {
			continue
		}
		place, _ := slices.BinarySearchFunc(largest, at, larger)
		largest = slices.Insert(largest, place, at)
		largest = largest[:min(len(largest), rows)]
	}
	return largest
}

// larger orders keys, the larger count first.
func larger[K comparable](a, b counted[K]) int {
	if c := cmp.Compare(b.count, a.count); c != 0 {
		return c
	}
	return bytes.Compare(raw(&a.key), raw(&b.key))
}

// byEntries orders figures, the larger one first.
func byEntries(a, b Figure) int { return cmp.Compare(b.Entries, a.Entries) }

// protocolNames are those of the kernel's trackers and of what gateways let
// through besides, as IANA's registry has them in small letters.
var protocolNames = map[uint8]string{
	unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_IGMP: "igmp", unix.IPPROTO_IPIP: "ipip",
	unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_DCCP: "dccp",
	unix.IPPROTO_IPV6: "ipv6", unix.IPPROTO_GRE: "gre", unix.IPPROTO_ESP: "esp",
	unix.IPPROTO_AH: "ah", unix.IPPROTO_ICMPV6: "icmpv6", 89: "ospf", 112: "vrrp",
	unix.IPPROTO_L2TP: "l2tp", unix.IPPROTO_SCTP: "sctp", unix.IPPROTO_UDPLITE: "udplite",
}

// ProtocolName is the name of a protocol, or its number.
func ProtocolName(proto uint8) string {
	if name, ok := protocolNames[proto]; ok {
		return name
	}
	return strconv.Itoa(int(proto))
}

// stateNames are those of enum tcp_conntrack. An entry in a flow table is dumped
// without a state, which is NONE.
var stateNames = [...]string{
	ctnetlink.TCPNone:        "NONE",
	ctnetlink.TCPSynSent:     "SYN_SENT",
	ctnetlink.TCPSynRecv:     "SYN_RECV",
	ctnetlink.TCPEstablished: "ESTABLISHED",
	ctnetlink.TCPFinWait:     "FIN_WAIT",
	ctnetlink.TCPCloseWait:   "CLOSE_WAIT",
	ctnetlink.TCPLastAck:     "LAST_ACK",
	ctnetlink.TCPTimeWait:    "TIME_WAIT",
	ctnetlink.TCPClose:       "CLOSE",
	ctnetlink.TCPSynSent2:    "SYN_SENT2",
}

// stateName is the name of a TCP state, or its number.
func stateName(state uint8) string {
	if int(state) < len(stateNames) {
		return stateNames[state]
	}
	return strconv.Itoa(int(state))
}
