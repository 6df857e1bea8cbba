// Package fib asks the kernel where it routes packets to.
package fib

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long the kernel may take for an answer.
const patience = 5 * time.Second

// A Table is the routing of one network namespace. It is for one goroutine at a time.
type Table struct{ handle *netlink.Handle }

// Open opens a socket in the calling thread's network namespace.
func Open() (*Table, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	if err := h.SetSocketTimeout(patience); err != nil {
		h.Close()
		return nil, fmt.Errorf("set a deadline for rtnetlink: %w", err)
	}
	return &Table{h}, nil
}

// Close closes the socket.
func (t *Table) Close() { t.handle.Close() }

// elsewhere is what the kernel answers where there is no way to an address (fib_props).
var elsewhere = []error{
	unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAGAIN, unix.EAFNOSUPPORT, unix.EOPNOTSUPP,
}

// Local reports whether packets to an address are for this machine, as an nft rule with
// fib daddr type local has it. That is so of more than the addresses of interfaces: of
// all of 127.0.0.0/8, and of whatever has a local route.
func (t *Table) Local(a netip.Addr) (bool, error) {
	if !a.IsValid() {
		return false, errors.New("look up the route to no address")
	}
	routes, err := t.handle.RouteGet(a.Unmap().AsSlice())
	if slices.ContainsFunc(elsewhere, func(e error) bool { return errors.Is(err, e) }) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the route to %s: %w", a, err)
	}
	return slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Type == unix.RTN_LOCAL }), nil
}
