package lab

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// segments is a socket filter for the frames that a responder answers: TCP to a
// /16 with exactly these flags, or these. Everything else stays in the kernel.
func (l *layout) segments(to netip.Prefix, flags ...uint32) []unix.SockFilter {
	return l.passing(to, unix.IPPROTO_TCP, uint32(l.transport+tcpFlags), flags...)
}

// datagrams is the same for UDP, told by the second byte of floodPort.
func (l *layout) datagrams(to netip.Prefix) []unix.SockFilter {
	return l.passing(to, unix.IPPROTO_UDP, uint32(l.transport+dport+1), floodPort)
}

// passing lets frames of a protocol to a /16 pass that have one of some bytes in a
// place.
func (l *layout) passing(to netip.Prefix, proto, at uint32, values ...uint32) []unix.SockFilter {
	a := to.Addr().AsSlice()
	half, byte1 := uint16(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS), uint16(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS)
	equal, ret := uint16(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K), uint16(unix.BPF_RET|unix.BPF_K)
	n := uint8(len(values))
	filter := []unix.SockFilter{
		{Code: half, K: 12},
		{Code: equal, K: uint32(l.etherType), Jf: 5 + n},
		{Code: half, K: uint32(l.dst)},
		{Code: equal, K: uint32(a[0])<<8 | uint32(a[1]), Jf: 3 + n},
		{Code: byte1, K: uint32(l.proto)},
		{Code: equal, K: proto, Jf: 1 + n},
		{Code: byte1, K: at},
	}
	for i, value := range values {
		filter = append(filter, unix.SockFilter{Code: equal, K: value, Jt: n - uint8(i)})
	}
	return append(filter, unix.SockFilter{Code: ret, K: 0}, unix.SockFilter{Code: ret, K: 0xffff})
}
