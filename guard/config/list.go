package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxPrefixes is how many addresses and prefixes a list may hold.
const maxPrefixes = 256

// listOf is a list of lo to hi values of a kind; one is what people call it. An
// empty list is nil.
func listOf[T any](lo, hi int, one string, kind func(any) (T, error)) func(any) ([]T, error) {
	return func(v any) (all []T, err error) {
		in, ok := v.([]any)
		if !ok {
			return nil, notList(v, one, kind)
		}
		if len(in) < lo || len(in) > hi {
			return nil, fmt.Errorf("must hold from %d to %d, got %d", lo, hi, len(in))
		}
		for _, v := range in {
			value, err := kind(v)
			if err != nil {
				return nil, err
			}
			all = append(all, value)
		}
		return all, nil
	}
}

// notList says how the list is written in whose place something else stands.
func notList[T any](v any, one string, kind func(any) (T, error)) error {
	if _, err := kind(v); err == nil {
		text, _ := strings.CutPrefix(describe(v), "the number ")
		return fmt.Errorf("is a list: write [%s]", text)
	}
	return fmt.Errorf("want a list, each %s, got %s", one, describe(v))
}

// aPrefix is a network, or an address as the network of it alone.
func aPrefix(v any) (netip.Prefix, error) {
	s, ok := v.(string)
	if addr, err := netip.ParseAddr(s); ok && err == nil && addr.Zone() == "" && !addr.Is4In6() {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case !ok || err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf(`want an address or prefix such as "10.0.0.0/8" or "2001:db8::1", got %s`, describe(v))
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its /%d: write %q for the network, or %q for the address",
			strconv.Quote(s), p.Bits(), p.Masked(), p.Addr())
	}
	return p, nil
}
