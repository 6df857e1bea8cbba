package nft

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// udp opens a connected socket.
func udp(from, to netip.AddrPort) (*net.UDPConn, error) {
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(5 * time.Second))
}

// talk makes n connections, each from a port of its own, that send something
// and hear its echo twice.
func talk(from netip.Addr, to netip.AddrPort, n int) error {
	for range n {
		c, err := udp(netip.AddrPortFrom(from, 0), to)
		if err != nil {
			return err
		}
		defer c.Close() // not sooner: the port would be used again
		for range 2 {
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return fmt.Errorf("no echo from %s: %w", to, err)
			}
		}
	}
	return nil
}

// shout makes n connections of three datagrams each that nobody answers.
func shout(from netip.Addr, to netip.AddrPort, n int) error {
	for range n {
		c, err := udp(netip.AddrPortFrom(from, 0), to)
		if err != nil {
			return err
		}
		defer c.Close()
		for range 3 {
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
		}
	}
	return nil
}

// converse makes a TCP connection, hears an echo and closes in order.
func converse(from netip.Addr, to netip.AddrPort) error {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// echo answers UDP in the calling thread's namespace until the test ends.
func echo(t testing.TB, at netip.AddrPort) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return // closed
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return nil
}

// echoPort is where loopback answers.
var echoPort = netip.MustParseAddrPort("127.0.0.1:7")

// loopback makes a namespace whose loopback is up and answers.
func loopback(t testing.TB) (ns string) {
	t.Helper()
	ns = netnstest.New(t)
	inside(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		return echo(t, echoPort)
	})
	return ns
}

// pair makes two namespaces joined by a link on which each has addresses. They
// are there at once, without duplicate address detection.
func pair(t testing.TB, here, there []string) (near, far string) {
	t.Helper()
	near, far = netnstest.New(t), netnstest.New(t)
	inside(t, near, func() error {
		fd, err := unix.Open(far, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		link := netlink.NewVeth(netlink.LinkAttrs{Name: "pair"})
		link.PeerName, link.PeerNamespace = "pair", netlink.NsFd(fd)
		return netlink.LinkAdd(link)
	})
	inside(t, near, func() error { return furnish(here) })
	inside(t, far, func() error { return furnish(there) })
	return near, far
}

func furnish(addrs []string) error {
	link, err := netlink.LinkByName("pair")
	if err != nil {
		return err
	}
	for _, text := range addrs {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add address %s: %w", text, err)
		}
	}
	return netlink.LinkSetUp(link)
}
