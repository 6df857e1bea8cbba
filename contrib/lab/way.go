package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// LAN and LAN6 are what the clients know the gateway by.
var LAN, LAN6 = lanAddr.Addr(), lanAddr6.Addr()

// manyAddresses is how many a way has if it is not told.
const manyAddresses = 65_000

// A Way is where connections come from and where they go to. The zero value is from
// 65,000 addresses to all of the server's, over IPv4.
type Way struct {
	// From is the first address they come from, of 10.77.0.0/16 or fd77::/48; the zero
	// value is 10.77.0.1 or fd77:0:0:1::1.
	From netip.Addr
	// Addresses is how many take turns: the following ones, in IPv6 each of the next
	// /64. 0 is 65,000, or 1 with From.
	Addresses int
	// To is another service than the server's echo: one of Gateway.Serve.
	To   netip.AddrPort
	IPv6 bool // From or To say so as well
}

// resolved fills in what was left out, and says what can't be.
func (w Way) resolved() (Way, error) {
	w.IPv6 = w.IPv6 || w.From.Is6() || w.To.Addr().Is6()
	if w.Addresses == 0 {
		w.Addresses = 1
		if !w.From.IsValid() {
			w.Addresses = manyAddresses
		}
	}
	net, first := clientNet, plus(clientNet.Addr(), 1)
	if w.IPv6 {
		net, first = clientNet6, plus(plusNet(clientNet6.Addr(), 1), 1)
	}
	if !w.From.IsValid() {
		w.From = first
	}
	switch {
	case w.IPv6 != w.From.Is6(), w.To.IsValid() && w.IPv6 != w.To.Addr().Is6():
		return w, fmt.Errorf("a way from %s to %s: both must be of one family", w.From, w.To)
	case w.Addresses < 0, w.Addresses > manyAddresses, !net.Contains(w.From), !net.Contains(w.from(uint32(w.Addresses - 1))):
		return w, fmt.Errorf("a way from %d addresses, %s and on: they must be of %s", w.Addresses, w.From, net)
	}
	return w, nil
}

// from is where the n-th connection comes from.
func (w *Way) from(n uint32) netip.Addr {
	n %= uint32(w.Addresses)
	if w.IPv6 {
		return plusNet(w.From, int(n))
	}
	return plus(w.From, n)
}

// to is where the n-th connection goes to.
func (w *Way) to(n uint32) netip.AddrPort {
	if w.To.IsValid() {
		return w.To
	}
	return netip.AddrPortFrom(echoAddr(w.IPv6, n%echoAddrs), echoPort)
}

// Source is where the n-th connection comes from as a census counts it: an IPv4
// address or an IPv6 /64.
func (w Way) Source(n int) (netip.Prefix, error) {
	w, err := w.resolved()
	if err != nil {
		return netip.Prefix{}, err
	}
	bits := 32
	if w.IPv6 {
		bits = 64
	}
	return w.from(uint32(n)).Prefix(bits)
}

// resolve resolves a way through this gateway.
func (g *Gateway) resolve(w Way) (Way, error) {
	w, err := w.resolved()
	if err == nil && w.IPv6 && !g.ipv6 {
		err = fmt.Errorf("a way from %s: %w", w.From, errNoIPv6)
	}
	return w, err
}

// Try opens one connection, has something echoed and closes it, and returns how long
// that took. It gives up after DefaultDeadline.
func (g *Gateway) Try(ctx context.Context, w Way) (took time.Duration, err error) {
	w, err = g.resolve(w)
	if err != nil {
		return 0, err
	}
	var c *client
	began := time.Now()
	err = g.Client.Do(func() (err error) {
		c, err = openClient(unix.SOCK_STREAM, &w, 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("open a connection from %s to %s: %w", w.from(0), w.to(0), err)
	}
	if err := c.exchange(ctx, 0, began.Add(DefaultDeadline)); err != nil {
		return time.Since(began), fmt.Errorf("connect from %s to %s: %w", w.from(0), w.to(0), err)
	}
	return time.Since(began), nil
}
