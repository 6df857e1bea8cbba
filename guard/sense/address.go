package sense

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
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

// ownAddresses are those of the calling thread's namespace: on all interfaces, all that
// are the loopback's, and whatever else is local by its route, as `fib daddr type local`
// has it.
func ownAddresses() ([]netip.Prefix, error) {
	h, err := rtnetlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		err = fmt.Errorf("list addresses: %w", err)
	}
	list := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} // local by its route, which goes while lo is down
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			list = append(list, singles([]netip.Addr{addr})...)
		}
	}
	local, unknown := localRoutes()
	return distinct(append(list, local...)), errors.Join(err, unknown)
}

var bothFamilies = [...]uint8{unix.AF_INET, unix.AF_INET6}

// localRoutes are the destinations of the calling thread's namespace that are local,
// without those that a proxy is to be given: everything (which is nobody's address), or
// by a mark.
func localRoutes() (list []netip.Prefix, err error) {
	r, err := openRouting()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var failed []error
	for _, family := range bothFamilies {
		routes, err := r.routes(family, unix.RTN_LOCAL, 128)
		if err != nil {
			failed = append(failed, fmt.Errorf("list local routes: %w", err))
		}
		proxies, err := proxiesAmong(routes, int(family))
		if err != nil {
			failed = append(failed, err)
		}
		for _, to := range routes {
			if !isDefault(to.dst) && !slices.Contains(proxies, to.table) {
				list = append(list, to.dst.Masked())
			}
		}
	}
	return list, errors.Join(failed...)
}

// proxiesAmong are the tables that have what proxies are to be given. Where all routes are
// in the kernel's own table for what is local nothing is asked.
func proxiesAmong(routes []route, family int) ([]uint32, error) {
	if !slices.ContainsFunc(routes, func(r route) bool { return r.table != unix.RT_TABLE_LOCAL }) {
		return nil, nil
	}
	tables, err := intercepting(family)
	if err != nil {
		return tables, fmt.Errorf("list routing rules: %w", err)
	}
	return tables, nil
}

// intercepting are the tables that a family's packets come to by their mark alone. What
// is local there is not ours, but what a proxy is to be given (TPROXY).
func intercepting(family int) (tables []uint32, err error) {
	h, err := rtnetlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	rules, err := dump(func() ([]netlink.Rule, error) { return h.RuleList(family) })
	marked := map[uint32]bool{}
	for _, r := range rules {
		table := uint32(r.Table)
		others, known := marked[table]
		marked[table] = !r.Invert && (r.Mark != 0 || r.Mask != nil) && (others || !known)
	}
	for table, only := range marked {
		if only {
			tables = append(tables, table)
		}
	}
	slices.Sort(tables)
	return tables, err
}

// defaultGateways are those of all routing tables of the calling thread's namespace.
func defaultGateways() (list []netip.Prefix, err error) {
	r, err := openRouting()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var failed []error
	asked := map[uint32]bool{}
	for _, family := range bothFamilies {
		routes, err := r.routes(family, unix.RTN_UNICAST, maxDefault)
		if err != nil {
			failed = append(failed, fmt.Errorf("list routes: %w", err))
		}
		for _, by := range routes {
			if !isDefault(by.dst) {
				continue
			}
			list = append(list, singles(by.hops)...)
			// What has hops of an object has told them.
			if by.nexthop != 0 && len(by.hops) == 0 && !asked[by.nexthop] {
				asked[by.nexthop] = true
				found, err := r.gatewaysOf(by.nexthop)
				list, failed = append(list, singles(found)...), append(failed, err)
			}
		}
	}
	return list, errors.Join(failed...)
}

// The addresses of IPv6 that are routed in the internet are all of these (RFC 3513).
var global = netip.MustParsePrefix("2000::/3")

// maxDefault is the most bits that the destination of a default route has.
const maxDefault = 3

// isDefault reports whether a route's destination is everything, the half of everything
// that a VPN takes without touching the default route, or all of IPv6 that is in use.
func isDefault(dst netip.Prefix) bool { return dst.Bits() <= 1 || dst == global }
