package lab

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Truth counts what fills made, as a census should find it.
type Truth struct {
	Entries, Assured, Unreplied, SNAT, DNAT, IPv6 int

	Sources      map[netip.Prefix]int // IPv4 /32, IPv6 /64
	Destinations map[netip.Addr]int   // as the client addressed them
	Services     map[Service]int
	Protocols    map[uint8]int
	States       map[uint8]int // TCP only
	Zones        map[uint16]int
	Pools        map[Pool]PortUse // not of ICMP
	// Classes are by the sysctl that the entries would take their timeout from,
	// without "nf_conntrack_", and by the timeout they were made with.
	Classes map[string]map[time.Duration]int
}

// A Service is a destination as the client addressed it. Port is type << 8 | code
// in ICMP.
type Service struct {
	Addr  netip.Addr
	Port  uint16
	Proto uint8
}

// A Pool is one set of source ports: those of a NAT address towards one service.
type Pool struct {
	NAT, Dst netip.Addr
	Port     uint16
	Proto    uint8
}

// PortUse is what of a pool is in use.
type PortUse struct {
	Ports           int
	Lowest, Highest uint16
}

// CountTruth counts what a gateway's fills made, given all of its mixes in their
// order, if every entry was created and none has expired.
func CountTruth(mix ...Entries) (Truth, error) {
	t := Truth{
		Sources: map[netip.Prefix]int{}, Destinations: map[netip.Addr]int{}, Services: map[Service]int{},
		Protocols: map[uint8]int{}, States: map[uint8]int{}, Zones: map[uint16]int{},
		Pools: map[Pool]PortUse{}, Classes: map[string]map[time.Duration]int{},
	}
	err := Each(t.add, mix...)
	return t, err
}

// Each calls fn with every entry that a gateway's fills make, given all of its
// mixes in their order.
func Each(fn func(Entry), mix ...Entries) error {
	all, err := new(numbering).takeAll(mix)
	for _, n := range all {
		for i := range n.Count {
			fn(n.at(i))
		}
	}
	return err
}

func (t *Truth) add(e Entry) {
	k := e.Kind
	t.Entries++
	count(&t.Assured, k.Assured)
	count(&t.Unreplied, !k.Replied)
	count(&t.SNAT, k.SNAT.translates())
	count(&t.DNAT, k.DNAT.IsValid())
	count(&t.IPv6, k.Family == 6)
	t.Sources[k.prefix(e.Orig.Src)]++
	t.Destinations[e.Orig.Dst]++
	t.Services[Service{e.Orig.Dst, e.Orig.DstPort, k.Proto}]++
	t.Protocols[k.Proto]++
	if k.Proto == unix.IPPROTO_TCP {
		t.States[k.State]++
	}
	t.Zones[k.Zone]++
	if k.SNAT.translates() && !k.isICMP() {
		t.addPort(Pool{e.Reply.Dst, e.Orig.Dst, e.Orig.DstPort, k.Proto}, e.Reply.DstPort)
	}
	class := k.class()
	if t.Classes[class] == nil {
		t.Classes[class] = map[time.Duration]int{}
	}
	t.Classes[class][k.Timeout]++
}

func (t *Truth) addPort(p Pool, port uint16) {
	use, known := t.Pools[p]
	if !known {
		use.Lowest = port
	}
	use.Ports++
	use.Lowest, use.Highest = min(use.Lowest, port), max(use.Highest, port)
	t.Pools[p] = use
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}

// prefix is the source that an address counts for.
func (e Entries) prefix(a netip.Addr) netip.Prefix {
	bits := 32
	if e.Family == 6 {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fails only for bits that the family has not
	return p
}

// tcpClasses are the sysctls of TCP states, tcp_sysctl_table in
// nf_conntrack_standalone.c. SYN_SENT2 has that of SYN_SENT (tcp_new).
var tcpClasses = map[uint8]string{
	SynSent: "syn_sent", SynRecv: "syn_recv", Established: "established", FinWait: "fin_wait", CloseWait: "close_wait",
	LastAck: "last_ack", TimeWait: "time_wait", Closed: "close", SynSent2: "syn_sent",
}

// sctpClasses are those of SCTP states, sctp_sysctl_table in the same place.
var sctpClasses = map[uint8]string{
	SCTPClosed: "closed", SCTPCookieWait: "cookie_wait", SCTPCookieEchoed: "cookie_echoed", SCTPEstablished: "established",
	SCTPShutdownSent: "shutdown_sent", SCTPShutdownRecd: "shutdown_recd", SCTPShutdownAckSent: "shutdown_ack_sent",
	SCTPHeartbeatSent: "heartbeat_sent",
}

// class is the sysctl that gives such entries their timeout.
func (e Entries) class() string {
	switch {
	case e.Proto == unix.IPPROTO_TCP:
		return "tcp_timeout_" + tcpClasses[e.State]
	case e.Proto == unix.IPPROTO_SCTP:
		return "sctp_timeout_" + sctpClasses[e.State]
	case e.Proto == unix.IPPROTO_UDP && e.Assured:
		return "udp_timeout_stream"
	case e.Proto == unix.IPPROTO_UDP:
		return "udp_timeout"
	case e.Proto == unix.IPPROTO_ICMPV6:
		return "icmpv6_timeout"
	}
	return "icmp_timeout"
}
