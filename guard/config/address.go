package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// prefixes is a list of networks and addresses.
var prefixes = listOf(256, `"10.0.0.0/8", "2001:db8::1"`, aPrefix)

// aPrefix is a network, or an address as the network of it alone.
func aPrefix(v any) (netip.Prefix, error) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if addr, notAddr := netip.ParseAddr(s); notAddr == nil {
		p, err = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return netip.Prefix{}, notPrefix(v)
	case strings.Contains(s, "%"):
		return netip.Prefix{}, fmt.Errorf("an interface can't be named here: write %q, got %q", p.Addr(), s)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("IPv4 is written as such: write %q, got %q", p.Addr().Unmap(), s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its /%d: write %q for the network, or %q for the address",
			s, p.Bits(), p.Masked(), p.Addr())
	}
	return p, nil
}

// notPrefix says what to write in place of what is neither address nor prefix.
func notPrefix(v any) error {
	s, _ := v.(string)
	addr, mask, _ := strings.Cut(s, "/")
	bits, ok := maskBits(mask)
	if p, err := netip.ParsePrefix(fmt.Sprintf("%s/%d", addr, bits)); ok && err == nil {
		return fmt.Errorf("a prefix has its length in bits: write %q, got %q", p.Masked(), s)
	}
	return fmt.Errorf(`want an address or a prefix, such as "192.0.2.1" or "2001:db8::/32", got %s`, describe(v))
}

// maskBits is the length of a prefix whose mask is written in full.
func maskBits(mask string) (bits int, ok bool) {
	addr, err := netip.ParseAddr(mask)
	if err != nil || !addr.Is4() {
		return 0, false
	}
	for _, b := range addr.AsSlice() {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	whole := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), bits)
	return bits, whole.Masked().Addr() == addr
}

// nested refuses one prefix inside another.
func nested(a, b netip.Prefix) error {
	switch {
	case !a.Overlaps(b):
		return nil
	case a == b:
		return fmt.Errorf("%s stands twice", a)
	case a.Bits() < b.Bits():
		a, b = b, a
	}
	return fmt.Errorf("%s is in %s, which is listed as well: leave it out", a, b)
}

// families are which families of addresses are among the prefixes.
func families(all []netip.Prefix) (v4, v6 bool) {
	for _, p := range all {
		v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
	}
	return v4, v6
}
