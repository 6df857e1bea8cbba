package policy

import "time"

// A Timeout is one of the kernel's conntrack timeouts that may be shortened. All
// entries that take their time from it are its class.
type Timeout uint8

// The timeouts.
const (
	TCPSynSent Timeout = iota
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastAck
	TCPTimeWait
	TCPClose
	UDP // of flows that are not assured
	UDPStream
	ICMP
	ICMPv6
	GRE
	GREStream
	SCTPClosed
	SCTPShutdownSent
	SCTPShutdownRecd
	SCTPShutdownAckSent
	Generic // of protocols that the kernel does not track by themselves
	Timeouts
)

// String is the sysctl without nf_conntrack_.
func (t Timeout) String() string {
	return [...]string{
		TCPSynSent:          "tcp_timeout_syn_sent",
		TCPSynRecv:          "tcp_timeout_syn_recv",
		TCPEstablished:      "tcp_timeout_established",
		TCPFinWait:          "tcp_timeout_fin_wait",
		TCPCloseWait:        "tcp_timeout_close_wait",
		TCPLastAck:          "tcp_timeout_last_ack",
		TCPTimeWait:         "tcp_timeout_time_wait",
		TCPClose:            "tcp_timeout_close",
		UDP:                 "udp_timeout",
		UDPStream:           "udp_timeout_stream",
		ICMP:                "icmp_timeout",
		ICMPv6:              "icmpv6_timeout",
		GRE:                 "gre_timeout",
		GREStream:           "gre_timeout_stream",
		SCTPClosed:          "sctp_timeout_closed",
		SCTPShutdownSent:    "sctp_timeout_shutdown_sent",
		SCTPShutdownRecd:    "sctp_timeout_shutdown_recd",
		SCTPShutdownAckSent: "sctp_timeout_shutdown_ack_sent",
		Generic:             "generic_timeout",
	}[t]
}

// TimeoutNamed finds a timeout by what String says.
func TimeoutNamed(name string) (Timeout, bool) {
	for t := range Timeouts {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}

// A TimeoutEdit is a timeout before and after, in whole seconds. The zero value is
// none.
type TimeoutEdit struct{ Before, After int }

// A FloorConfig bounds how far one timeout may be shortened.
type FloorConfig struct {
	Mode  Mode          // the class's own, beside that of the measure
	Floor time.Duration // never shorter than this, whole seconds
}

// EstablishedFloor is the least that RFC 5382, REQ-5, allows a NAT for an
// established TCP connection that is silent: 2 h 4 min.
const EstablishedFloor = 2*time.Hour + 4*time.Minute

// defaultFloors are those of the built-in policy. They leave an exchange that is
// still going on the time for its next packet:
//
//   - A SYN is repeated after 1, 3, 7, 15 s and an answer takes less than a second;
//     what is repeated later makes an entry of its own.
//   - A connection that is closed on one side may still carry data, and each packet
//     begins its timeout anew.
//   - RFC 4787, REQ-5, asks of a NAT two minutes for UDP. For an assured stream that
//     is the floor, and the kernel's own default, too. A flow that is not assured has
//     30 s with the kernel already; a resolver has given up after ten.
//   - RFC 5508, REQ-2, asks a minute for ICMP queries, of which the kernel gives half.
var defaultFloors = [Timeouts]FloorConfig{
	TCPSynSent:          {Act, 20 * time.Second},
	TCPSynRecv:          {Act, 20 * time.Second},
	TCPEstablished:      {Off, EstablishedFloor},
	TCPFinWait:          {Act, 30 * time.Second},
	TCPCloseWait:        {Act, 30 * time.Second},
	TCPLastAck:          {Act, 10 * time.Second},
	TCPTimeWait:         {Act, 10 * time.Second},
	TCPClose:            {Act, 5 * time.Second},
	UDP:                 {Act, 10 * time.Second},
	UDPStream:           {Act, 120 * time.Second},
	ICMP:                {Act, 10 * time.Second},
	ICMPv6:              {Act, 10 * time.Second},
	GRE:                 {Act, 10 * time.Second},
	GREStream:           {Act, 60 * time.Second},
	SCTPClosed:          {Act, 5 * time.Second},
	SCTPShutdownSent:    {Act, 3 * time.Second},
	SCTPShutdownRecd:    {Act, 3 * time.Second},
	SCTPShutdownAckSent: {Act, 3 * time.Second},
	Generic:             {Act, 60 * time.Second},
}
