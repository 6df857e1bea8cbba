package census

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// What one source is if the options don't say: an address of IPv4, and of IPv6 the
// network that a host has to itself.
const (
	usualIPv4Bits = 32
	usualIPv6Bits = 64
)

// Networks are how much of an address is one source.
type networks struct {
	ipv4, ipv6 int       // bits of the prefix
	of4, of6   [2]uint64 // masks of an Addr, in native byte order
}

// newNetworks makes networks of so many bits, 0 for the usual.
func newNetworks(ipv4, ipv6 int) networks {
	if ipv4 == 0 {
		ipv4 = usualIPv4Bits
	}
	if ipv6 == 0 {
		ipv6 = usualIPv6Bits
	}
	return networks{ipv4, ipv6, maskOf(96 + ipv4), maskOf(ipv6)} // an Addr of IPv4 begins with 96 others
}

// maskOf is the mask of a prefix of an Addr.
func maskOf(bits int) (m [2]uint64) {
	var b [16]byte
	for i := range bits {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return [2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
}

// mask makes an address that of its network.
func (n *networks) mask(a *ctnetlink.Addr, family uint8) {
	m := &n.of4
	if family == unix.AF_INET6 {
		m = &n.of6
	}
	binary.NativeEndian.PutUint64(a[:], binary.NativeEndian.Uint64(a[:])&m[0])
	binary.NativeEndian.PutUint64(a[8:], binary.NativeEndian.Uint64(a[8:])&m[1])
}

// prefix is the network that a masked address is the first of.
func (n *networks) prefix(first ctnetlink.Addr) netip.Prefix {
	addr := first.Netip()
	if addr.Is4() {
		return netip.PrefixFrom(addr, n.ipv4)
	}
	return netip.PrefixFrom(addr, n.ipv6)
}

func checkBits(ipv4, ipv6 int) error {
	if ipv4 < 0 || ipv4 > 32 || ipv6 < 0 || ipv6 > 128 {
		return fmt.Errorf("sources of %d bits of IPv4 and %d of IPv6", ipv4, ipv6)
	}
	return nil
}
