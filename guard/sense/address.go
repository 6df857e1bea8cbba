package sense

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long the kernel may take for one answer.
const patience = 5 * time.Second

// rtnetlink opens a socket in the calling thread's namespace.
func rtnetlink() (*netlink.Handle, error) { return open(unix.NETLINK_ROUTE) }

func open(protocol int) (*netlink.Handle, error) {
	h, err := netlink.NewHandle(protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := h.SetSocketTimeout(patience); err != nil {
		h.Close()
		return nil, fmt.Errorf("set a deadline for netlink: %w", err)
	}
	return h, nil
}

// dumps is how often a dump is asked for that something changed under.
const dumps = 3

// dump asks for a list until it comes whole. One that does not is returned with the
// error.
func dump[T any](ask func() ([]T, error)) (list []T, err error) {
	for range dumps {
		if list, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// ownAddresses are those of the calling thread's namespace, on all interfaces, and all
// that are the loopback's.
func ownAddresses() (list []netip.Prefix, err error) {
	h, err := rtnetlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		err = fmt.Errorf("list addresses: %w", err)
	}
	list = append(list, netip.MustParsePrefix("127.0.0.0/8")) // local by its route, whatever address lo has
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			list = append(list, singles([]netip.Addr{addr})...)
		}
	}
	return list, err
}

// defaultGateways are those of all routing tables of the calling thread's namespace.
func defaultGateways() (list []netip.Prefix, err error) {
	h, err := rtnetlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var failed []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		found, err := gatewaysBy(h, family)
		if err != nil {
			failed = append(failed, fmt.Errorf("list routes: %w", err))
		}
		list = append(list, singles(found)...)
	}
	return list, errors.Join(failed...)
}

// gatewaysBy are those of one family's routes. A table may be long, so only what is
// asked for is kept of it.
func gatewaysBy(h *netlink.Handle, family int) ([]netip.Addr, error) {
	return dump(func() (found []netip.Addr, err error) {
		err = h.RouteListFilteredIter(family, &netlink.Route{}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if isDefault(r.Dst) {
				found = append(found, hops(&r)...)
			}
			return true
		})
		return found, err
	})
}

// isDefault reports whether a route's destination is everything, or the half of
// everything that a VPN takes without touching the default route.
func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones <= 1
}

// hops are the gateways of a route. One of IPv4 may go by way of an IPv6 address.
func hops(r *netlink.Route) (list []netip.Addr) {
	add := func(gateway net.IP, via netlink.Destination) {
		if addr, ok := netip.AddrFromSlice(gateway); ok {
			list = append(list, addr)
		}
		if v, ok := via.(*netlink.Via); ok {
			if addr, ok := netip.AddrFromSlice(v.Addr); ok {
				list = append(list, addr)
			}
		}
	}
	add(r.Gw, r.Via)
	for _, hop := range r.MultiPath {
		add(hop.Gw, hop.Via)
	}
	return list
}
