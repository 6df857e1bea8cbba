package sense

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

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
	peer  netip.Addr
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
			list = append(list, socket{s.State, s.ID.SourcePort, peer.Unmap()})
		}
	}
	return list, errors.Join(failed...)
}

// peersOf are those who are connected to one of these ports of ours that is listened
// on: where a lifeline's are among those that the kernel chooses from, connections that
// the gateway makes have such ports, too.
func peersOf(sockets []socket, ports []policy.Ports) (list []netip.Addr) {
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.state == netlink.TCP_LISTEN && within(ports, s.port) {
			listening[s.port] = true
		}
	}
	for _, s := range sockets {
		if s.state == netlink.TCP_ESTABLISHED && listening[s.port] && !s.peer.IsLoopback() {
			list = append(list, s.peer)
		}
	}
	return list
}

// seenPeers are those who have been connected, and when that was last seen (boot
// clock).
type seenPeers map[netip.Addr]time.Duration

// maxPeers are remembered at most: who knows an open port can come from many
// addresses.
const maxPeers = 1024

// see takes in who is connected now. Where they become too many, those go first that
// were seen the longest ago.
func (p seenPeers) see(now time.Duration, connected []netip.Addr) {
	for _, addr := range connected {
		p[addr] = now
	}
	if len(p) <= maxPeers {
		return
	}
	type peer struct {
		addr netip.Addr
		last time.Duration
	}
	var all []peer
	for addr, last := range p {
		all = append(all, peer{addr, last})
	}
	slices.SortFunc(all, func(a, b peer) int { return cmp.Or(cmp.Compare(b.last, a.last), a.addr.Compare(b.addr)) })
	for _, old := range all[maxPeers:] {
		delete(p, old.addr)
	}
}

func (p seenPeers) list() []netip.Prefix {
	var all []netip.Addr
	for addr := range p {
		all = append(all, addr)
	}
	return singles(all)
}
