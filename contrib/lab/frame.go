package lab

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A frame is Ethernet, IPv4 and TCP without options or payload, or UDP with a
// payload that makes it as long.
const (
	frameSize = ethSize + ipSize + tcpSize
	ethSize   = 14
	ipSize    = 20
	tcpSize   = 20

	offIPSum = ethSize + 10
	offSrc   = ethSize + 12
	offDst   = ethSize + 16
	offSport = ethSize + ipSize
	offDport = offSport + 2
	offProto = ethSize + 9
	offUDP   = offSport + 4 // length, then checksum
	offSeq   = offSport + 4
	offAck   = offSport + 8
	offFlags = offSport + 13
	offSum   = offSport + 16
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
func putFirst(f []byte, p Pattern, from, to net.HardwareAddr) {
	clear(f)
	copy(f, to)
	copy(f[6:], from)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	ip := f[ethSize:]
	ip[0] = 0x45 // version 4, five words
	binary.BigEndian.PutUint16(ip[2:], frameSize-ethSize)
	ip[6] = 0x40 // don't fragment
	ip[8] = 64
	binary.BigEndian.PutUint16(f[offDport:], floodPort)
	if p.isUDP() {
		f[offProto] = unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(f[offUDP:], frameSize-offSport) // a checksum of 0 is none, RFC 768
		return
	}
	f[offProto] = unix.IPPROTO_TCP
	f[offSport+12] = tcpSize / 4 << 4
	f[offFlags] = flagSYN
	binary.BigEndian.PutUint16(f[offSport+14:], 65535) // window
}

// putFlow makes a first packet that of the i-th flow, see tuplePorts.
func putFlow(f []byte, i, sources uint64) {
	src := nth(floodNet, uint32(i%sources)).As4()
	dst := nth(targetNet, uint32(i/tuplePorts)).As4()
	copy(f[offSrc:], src[:])
	copy(f[offDst:], dst[:])
	binary.BigEndian.PutUint16(f[offSport:], firstPort+uint16(i%tuplePorts))
	putSums(f)
}

// answer turns a frame into the answer to it: back to where it came from. Of UDP
// it has the same payload.
func answer(f []byte) {
	var mac [6]byte
	copy(mac[:], f)
	copy(f, f[6:12])
	copy(f[6:], mac[:])
	swap4(f[offSrc:], f[offDst:])
	sport := binary.BigEndian.Uint16(f[offSport:])
	copy(f[offSport:offDport], f[offDport:offSeq])
	binary.BigEndian.PutUint16(f[offDport:], sport)
	if f[offProto] == unix.IPPROTO_TCP {
		acknowledge(f)
	}
	putSums(f)
}

// acknowledge goes on with a connection. Both sides begin with sequence number 0 and
// say nothing, so what comes next is known from one segment alone:
//
//	client SYN, server SYN-ACK, client ACK,
//	server FIN-ACK, client FIN-ACK (which acknowledges 2), server ACK
func acknowledge(f []byte) {
	flags := f[offFlags]
	swap4(f[offSeq:], f[offAck:])
	if flags&(flagSYN|flagFIN) != 0 { // which count in the sequence
		ack := binary.BigEndian.Uint32(f[offAck:])
		binary.BigEndian.PutUint32(f[offAck:], ack+1)
	}
	switch closing := binary.BigEndian.Uint32(f[offSeq:]) == 2; {
	case flags == flagSYN:
		f[offFlags] = flagSYN | flagACK
	case flags == flagACK, flags == flagFIN|flagACK && !closing:
		f[offFlags] = flagFIN | flagACK
	default:
		f[offFlags] = flagACK
	}
}

// putSums computes the checksums of IPv4 and TCP (RFC 1071). conntrack verifies
// them and calls a packet with a wrong one invalid. UDP has none.
func putSums(f []byte) {
	clear(f[offIPSum : offIPSum+2])
	binary.BigEndian.PutUint16(f[offIPSum:], fold(sum(f[ethSize:offSport])))
	if f[offProto] != unix.IPPROTO_TCP {
		return
	}
	clear(f[offSum : offSum+2])
	pseudo := sum(f[offSrc:offSport]) + unix.IPPROTO_TCP + tcpSize
	binary.BigEndian.PutUint16(f[offSum:], fold(pseudo+sum(f[offSport:frameSize])))
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

func swap4(a, b []byte) {
	var t [4]byte
	copy(t[:], a)
	copy(a[:4], b[:4])
	copy(b[:4], t[:])
}

// segments is a socket filter for the frames that a responder answers: TCP to a
// /16 with exactly these flags, or these. Everything else stays in the kernel.
func segments(to netip.Prefix, flags ...uint32) []unix.SockFilter {
	return passing(to, unix.IPPROTO_TCP, offFlags, flags...)
}

// datagrams is the same for UDP, told by the second byte of floodPort.
func datagrams(to netip.Prefix) []unix.SockFilter {
	return passing(to, unix.IPPROTO_UDP, offDport+1, floodPort)
}

// passing lets frames of a protocol to a /16 pass that have one of some bytes in a
// place.
func passing(to netip.Prefix, proto, at uint32, values ...uint32) []unix.SockFilter {
	a := to.Addr().As4()
	half, byte1 := uint16(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS), uint16(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS)
	equal, ret := uint16(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K), uint16(unix.BPF_RET|unix.BPF_K)
	n := uint8(len(values))
	filter := []unix.SockFilter{
		{Code: half, K: 12},
		{Code: equal, K: unix.ETH_P_IP, Jf: 5 + n},
		{Code: half, K: offDst},
		{Code: equal, K: uint32(a[0])<<8 | uint32(a[1]), Jf: 3 + n},
		{Code: byte1, K: offProto},
		{Code: equal, K: proto, Jf: 1 + n},
		{Code: byte1, K: at},
	}
	for i, value := range values {
		filter = append(filter, unix.SockFilter{Code: equal, K: value, Jt: n - uint8(i)})
	}
	return append(filter, unix.SockFilter{Code: ret, K: 0}, unix.SockFilter{Code: ret, K: 0xffff})
}
