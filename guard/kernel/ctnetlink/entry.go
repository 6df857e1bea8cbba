package ctnetlink

import "net/netip"

// Addr is an address of either family, IPv4 in its mapped form ::ffff:a.b.c.d.
type Addr [16]byte

// Netip is the address as the rest of the program knows it.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// unspecified reports whether the address is :: or 0.0.0.0.
func (a *Addr) unspecified() bool { return *a == Addr{} || *a == Addr{10: 0xff, 11: 0xff} }

// mapped reports whether the address is of IPv4.
func (a *Addr) mapped() bool { return [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff} }

// A Tuple is one direction of an entry. The ports are in host byte order; a
// protocol without ports has 0, ICMP has its id as the source port and type << 8
// | code as the destination port.
type Tuple struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
}

// An Entry is one entry of the table as the kernel dumps it. It is filled in
// place and holds no reference to the message it came from.
type Entry struct {
	Orig, Reply Tuple
	ID          uint32 // CTA_ID
	Status      uint32 // IPS_*, enum ip_conntrack_status
	Mark        uint32
	Use         uint32 // who holds the entry: the table, each child whose master it is, and packets under way (CTA_USE)
	Timeout     uint32 // seconds until it expires, as of the dump
	Zone        uint16 // 0 is the default zone
	OrigZone    uint16 // where the original is looked for: Zone, or 0 if that is for the reply direction alone
	ReplyZone   uint16 // where the reply is looked for: Zone, or 0 if that is for the original direction alone
	Family      uint8  // unix.AF_INET or unix.AF_INET6
	Proto       uint8  // unix.IPPROTO_*
	TCPState    uint8  // TCP_CONNTRACK_*, which may be one without a name here; 0 for another protocol or if offloaded
	SCTPState   uint8  // SCTP_CONNTRACK_*, likewise
	Offloaded   bool   // in a flow table: it has no timeout of its own (IPS_OFFLOAD, or the kernel told none)
}

// Status bits of an entry, enum ip_conntrack_status in
// nf_conntrack_common.h.
const (
	StatusExpected     = 1 << 0
	StatusSeenReply    = 1 << 1
	StatusAssured      = 1 << 2
	StatusConfirmed    = 1 << 3
	StatusSrcNAT       = 1 << 4
	StatusDstNAT       = 1 << 5
	StatusDying        = 1 << 9
	StatusFixedTimeout = 1 << 10
	StatusOffload      = 1 << 14
)

// TCP states of an entry, enum tcp_conntrack in nf_conntrack_tcp.h.
const (
	TCPNone        = 0
	TCPSynSent     = 1
	TCPSynRecv     = 2
	TCPEstablished = 3
	TCPFinWait     = 4
	TCPCloseWait   = 5
	TCPLastAck     = 6
	TCPTimeWait    = 7
	TCPClose       = 8
	TCPSynSent2    = 9
)

// SCTP states of an entry, enum sctp_conntrack in nf_conntrack_sctp.h.
const (
	SCTPNone            = 0
	SCTPClosed          = 1
	SCTPCookieWait      = 2
	SCTPCookieEchoed    = 3
	SCTPEstablished     = 4
	SCTPShutdownSent    = 5
	SCTPShutdownRecd    = 6
	SCTPShutdownAckSent = 7
	SCTPHeartbeatSent   = 8
	SCTPHeartbeatAcked  = 9 // not used by newer kernels
)
