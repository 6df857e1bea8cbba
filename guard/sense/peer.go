package sense

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// sshPort is where an operator comes in.
const sshPort = 22

// portsOf are the ports by which an operator may come in: that of SSH, and those of
// lifelines.
func portsOf(c *policy.Config) []policy.Ports {
	list := []policy.Ports{{Low: sshPort, High: sshPort}}
	for i := range c.Bypass {
		if c.Bypass[i].Lifeline {
			list = append(list, c.Bypass[i].Ports...)
		}
	}
	return list
}

func within(ports []policy.Ports, port uint16) bool {
	return slices.ContainsFunc(ports, func(p policy.Ports) bool { return p.Low <= port && port <= p.High })
}

// A socket is one of TCP, as far as it tells who is connected.
type socket struct {
	state uint8 // netlink.TCP_*
	port  uint16
	peer  netip.AddrPort
}

// tcpSockets are those of the calling thread's namespace, by sock_diag(7). After an
// error it returns those that it has got.
func tcpSockets() (list []socket, err error) {
	h, err := open(unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var failed []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := dump(func() ([]*netlink.Socket, error) { return h.SocketDiagTCP(family) })
		if err != nil {
			failed = append(failed, fmt.Errorf("list TCP sockets: %w", err))
		}
		for _, s := range found {
			peer, _ := netip.AddrFromSlice(s.ID.Destination)
			list = append(list, socket{s.State, s.ID.SourcePort, netip.AddrPortFrom(peer.Unmap(), s.ID.DestinationPort)})
		}
	}
	return list, errors.Join(failed...)
}

// A connection is one of TCP to a port of the gateway.
type connection struct {
	port uint16
	peer netip.AddrPort
}

// connectionsTo are those to one of these ports of ours that is listened on: where a
// lifeline's are among those that the kernel chooses from, connections that the gateway
// makes have such ports, too.
func connectionsTo(ports []policy.Ports, sockets []socket) (list []connection) {
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.state == netlink.TCP_LISTEN && within(ports, s.port) {
			listening[s.port] = true
		}
	}
	for _, s := range sockets {
		if s.state == netlink.TCP_ESTABLISHED && listening[s.port] && !s.peer.Addr().IsLoopback() {
			list = append(list, connection{s.port, s.peer})
		}
	}
	return list
}
