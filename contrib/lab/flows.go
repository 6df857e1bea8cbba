package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// errNoIPv6 means that Options has no IPv6.
var errNoIPv6 = errors.New("the gateway has no IPv6")

// layout is that of the flood's frames.
func (f *Flood) layout() *layout {
	if f.IPv6 {
		return layout6
	}
	return layout4
}

// resolved fills in what was left out, and says what can't be done.
func (f Flood) resolved() (Flood, error) {
	if !slices.Contains(Patterns, f.Pattern) {
		return f, fmt.Errorf("flood: no pattern %q", f.Pattern)
	}
	if f.Sources == 0 {
		f.Sources = 1
		if !f.From.IsValid() && !f.IPv6 {
			f.Sources = 256
		}
	}
	if !f.From.IsValid() {
		f.From = f.layout().flooders.Addr()
	}
	f.IPv6 = f.IPv6 || f.From.Is6()
	if err := f.checkSources(); err != nil {
		return f, fmt.Errorf("flood from %d addresses, %s and on: %w", f.Sources, f.From, err)
	}
	return f, nil
}

// Check says what of a flood can't be done.
func (f Flood) Check() error {
	_, err := f.resolved()
	return err
}

// checkSources lets a flood come from where it is routed back to, and from a stack
// that would take part only if nothing comes back.
func (f *Flood) checkSources() error {
	l := f.layout()
	if f.Sources < 0 || f.Sources > 1<<16 { // as many as the nets have
		return errors.New("that is no number of them")
	}
	first, last := f.Source(0).Addr(), f.Source(f.Sources-1).Addr()
	within := func(net netip.Prefix) bool { return net.Contains(first) && net.Contains(last) }
	switch {
	case within(l.flooders):
		return nil
	case !within(l.bystanders):
		return fmt.Errorf("they must be of %s or %s", l.flooders, l.bystanders)
	case f.Pattern.answered():
		return fmt.Errorf("%s has a stack, which would have its say in %s flows", l.bystanders, f.Pattern)
	}
	return nil
}

// Source is the n-th of the flood's sources as a census counts them: an IPv4
// address or an IPv6 /64.
func (f Flood) Source(n int) netip.Prefix {
	if !f.From.IsValid() {
		f.From = f.layout().flooders.Addr()
	}
	if f.From.Is4() {
		return netip.PrefixFrom(plus(f.From, uint32(n)), 32)
	}
	p, _ := plusNet(f.From, n).Prefix(64) // fails only for bits that the family has not
	return p
}

// source is the address that the i-th flow comes from: of IPv6, any of its /64, and
// the same for the same i.
func (f *Flood) source(i uint64) netip.Addr {
	n := int(i % uint64(f.Sources))
	if !f.IPv6 {
		return plus(f.From, uint32(n))
	}
	a := plusNet(f.From, n).As16()
	binary.BigEndian.PutUint64(a[8:], scattered(i))
	return netip.AddrFrom16(a)
}

// plusNet is the same address n /64s on, within a /48.
func plusNet(a netip.Addr, n int) netip.Addr {
	b := a.As16()
	binary.BigEndian.PutUint16(b[6:], binary.BigEndian.Uint16(b[6:])+uint16(n))
	return netip.AddrFrom16(b)
}

// scattered is one number for each, none twice, that look as if they were drawn:
// SplitMix64.
func scattered(n uint64) uint64 {
	n = (n + 1) * 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// number is the tuple of the i-th flow.
func (f *Flood) number(i uint64) uint64 {
	if f.Tuples > 0 {
		return i % uint64(f.Tuples)
	}
	return i
}
