package lab

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A frame is Ethernet, IP and TCP without options or payload, or UDP with a payload
// that makes it as long.
const (
	ethSize   = 14
	tcpSize   = 20
	longFrame = ethSize + 40 + tcpSize // with IPv6
)

// A layout is where the frames of one version of IP have what.
type layout struct {
	etherType            uint16
	proto, src, dst      int
	transport            int // where TCP or UDP begins: right behind the addresses
	target               netip.Prefix
	flooders, bystanders netip.Prefix // the client's nets: of floods, and of the well-behaved
}

var (
	layout4 = &layout{
		etherType: unix.ETH_P_IP, proto: ethSize + 9, src: ethSize + 12, dst: ethSize + 16, transport: ethSize + 20,
		target: targetNet, flooders: floodNet, bystanders: clientNet,
	}
	layout6 = &layout{
		etherType: unix.ETH_P_IPV6, proto: ethSize + 6, src: ethSize + 8, dst: ethSize + 24, transport: ethSize + 40,
		target: targetNet6, flooders: floodNet6, bystanders: clientNet6,
	}
)

// size is that of every frame.
func (l *layout) size() int { return l.transport + tcpSize }

// Places behind layout.transport.
const (
	sport, dport     = 0, 2
	udpSize, udpSum  = 4, 6
	tcpSeq, tcpAck   = 4, 8
	tcpWords         = 12
	tcpFlags, tcpWin = 13, 14
	tcpSum           = 16
)

// TCP flags.
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagACK = 0x10
)

// floodPort is the destination port of every flow of a flood.
const floodPort = 80

// putFirst writes the first packet of a flow without addresses.
func (l *layout) putFirst(f []byte, p Pattern, from, to net.HardwareAddr) {
	clear(f)
	copy(f, to)
	copy(f[6:], from)
	binary.BigEndian.PutUint16(f[12:], l.etherType)
	l.putIP(f[ethSize:])
	t := f[l.transport:]
	binary.BigEndian.PutUint16(t[dport:], floodPort)
	if p.isUDP() {
		f[l.proto] = unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(t[udpSize:], tcpSize)
		return
	}
	f[l.proto] = unix.IPPROTO_TCP
	t[tcpWords] = tcpSize / 4 << 4
	t[tcpFlags] = flagSYN
	binary.BigEndian.PutUint16(t[tcpWin:], 65535)
}

// putIP writes what all headers have alike.
func (l *layout) putIP(ip []byte) {
	const hops = 64
	if l == layout6 {
		ip[0] = 0x60 // version 6
		binary.BigEndian.PutUint16(ip[4:], tcpSize)
		ip[7] = hops
		return
	}
	ip[0] = 0x45 // version 4, five words
	binary.BigEndian.PutUint16(ip[2:], uint16(l.size()-ethSize))
	ip[6] = 0x40 // don't fragment
	ip[8] = hops
}

// putFlow makes a first packet that of the i-th flow, see tuplePorts.
func (l *layout) putFlow(f []byte, i uint64, from netip.Addr) {
	const targets = 1 << 16 // as many as the smaller net has
	to := plus(l.target.Addr(), uint32(i/tuplePorts%targets))
	l.putAddress(f[l.src:], from)
	l.putAddress(f[l.dst:], to)
	binary.BigEndian.PutUint16(f[l.transport+sport:], firstPort+uint16(i%tuplePorts))
	l.putSums(f)
}

func (l *layout) putAddress(at []byte, a netip.Addr) {
	if l == layout6 {
		b := a.As16()
		copy(at, b[:])
		return
	}
	b := a.As4()
	copy(at, b[:])
}

// answer turns a frame into the answer to it: back to where it came from. Of UDP
// it has the same payload.
func (l *layout) answer(f []byte) {
	swap(f[:6], f[6:12])
	swap(f[l.src:l.dst], f[l.dst:l.transport])
	t := f[l.transport:]
	swap(t[sport:dport], t[dport:dport+2])
	if f[l.proto] == unix.IPPROTO_TCP {
		acknowledge(t)
	}
	l.putSums(f)
}

// acknowledge goes on with a connection. Both sides begin with sequence number 0 and
// say nothing, so what comes next is known from one segment alone:
//
//	client SYN, server SYN-ACK, client ACK,
//	server FIN-ACK, client FIN-ACK (which acknowledges 2), server ACK
func acknowledge(t []byte) {
	flags := t[tcpFlags]
	swap(t[tcpSeq:tcpAck], t[tcpAck:tcpWords])
	if flags&(flagSYN|flagFIN) != 0 { // which count in the sequence
		ack := binary.BigEndian.Uint32(t[tcpAck:])
		binary.BigEndian.PutUint32(t[tcpAck:], ack+1)
	}
	switch closing := binary.BigEndian.Uint32(t[tcpSeq:]) == 2; {
	case flags == flagSYN:
		t[tcpFlags] = flagSYN | flagACK
	case flags == flagACK, flags == flagFIN|flagACK && !closing:
		t[tcpFlags] = flagFIN | flagACK
	default:
		t[tcpFlags] = flagACK
	}
}

// putSums computes the checksums (RFC 1071). conntrack verifies them and calls a
// packet with a wrong one invalid. UDP over IPv4 has none: 0, RFC 768; over IPv6 it
// must have one, RFC 8200 8.1.
func (l *layout) putSums(f []byte) {
	at := tcpSum
	if f[l.proto] == unix.IPPROTO_UDP {
		at = udpSum
	}
	if l == layout4 {
		ip := f[ethSize:l.transport]
		putSum(ip[10:], 0, ip)
		if at == udpSum {
			return
		}
	}
	pseudo := sum(f[l.src:l.transport]) + uint32(f[l.proto]) + tcpSize
	t := f[l.transport:l.size()]
	putSum(t[at:], pseudo, t)
}

// putSum puts the checksum of b, and of what else was summed, at its place in b.
func putSum(at []byte, other uint32, b []byte) {
	clear(at[:2])
	s := fold(other + sum(b))
	if s == 0 {
		s = 0xffff // the same number, and in UDP not that of no checksum
	}
	binary.BigEndian.PutUint16(at, s)
}

func sum(b []byte) (s uint32) {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	return s
}

func fold(s uint32) uint16 {
	s = s>>16 + s&0xffff
	s += s >> 16
	return ^uint16(s)
}

// swap exchanges two pieces of the same length, 16 bytes at most.
func swap(a, b []byte) {
	var t [16]byte
	n := copy(t[:], a)
	copy(a, b)
	copy(b, t[:n])
}
