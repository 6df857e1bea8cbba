package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// A Gateway is a masquerading gateway between a client and a server, each a
// network namespace of its own:
//
//	client up0 172.31.1.2 ── 172.31.1.1 lan0 gateway wan0 172.31.2.1 ── 172.31.2.2 up0 server
//
// The client's stack has all of clientNet, so that a socket may bind any address
// of it; the server's stack has echoAddrs. Flood traffic comes from floodNet and
// goes to targetNet, which no stack has: nothing answers it but the lab's own
// responder, and no stack resets it. With IPv6, which is not translated, there is
// the like of all of these.
type Gateway struct {
	Client, Router, Server *Namespace

	ipv6  bool
	echo  []*echoServer // of the server, and of the gateway itself
	count *os.File      // nf_conntrack_count of Router, kept open
	claim *claim

	flows  atomic.Uint64 // flows of floods so far: each is a new tuple
	fills  sync.Mutex    // guards filled
	filled numbering     // how far fills have come
}

// Options of a gateway.
type Options struct {
	// Timeouts are sysctls of the gateway's namespace in seconds, by the part of
	// the name after "nf_conntrack_": "tcp_timeout_established". They hold for
	// entries that see a packet later.
	Timeouts map[string]int
	// Ports are those that the gateway may translate TCP flows to; then only TCP is
	// translated. One destination can have no more flows at a time.
	Ports Ports
	// IPv6 has the gateway forward and track IPv6 as well.
	IPv6 bool
}

// NewGateway makes a gateway. It is ready for traffic when it returns and must
// be closed.
func NewGateway(opts Options) (*Gateway, error) {
	c, err := newClaim()
	if err != nil {
		return nil, err
	}
	g := &Gateway{claim: c, ipv6: opts.IPv6}
	if err := g.build(opts); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Gateway) build(opts Options) error {
	prefix := fmt.Sprintf("glab-%d-%d-", g.claim.Owner.PID, g.claim.Seq)
	roles := []struct {
		name string
		at   **Namespace
	}{{"client", &g.Client}, {"gw", &g.Router}, {"server", &g.Server}}
	for _, r := range roles {
		g.claim.Namespaces = append(g.claim.Namespaces, prefix+r.name)
	}
	if err := g.claim.write(); err != nil {
		return err
	}
	for _, r := range roles {
		n, err := newNamespace(prefix + r.name)
		if err != nil {
			return err
		}
		*r.at = n
	}
	return g.furnish(opts)
}

// furnish turns three empty namespaces into a network.
func (g *Gateway) furnish(opts Options) (err error) {
	if err := g.connect(); err != nil {
		return err
	}
	if err := masquerade(g.Router, wanLink, opts.Ports); err != nil {
		return err
	}
	if g.ipv6 {
		if err := g.connect6(); err != nil {
			return err
		}
	}
	if err := g.SetTimeouts(opts.Timeouts); err != nil {
		return err
	}
	if g.count, err = g.openCount(); err != nil {
		return err
	}
	return g.startEchoes()
}

// startEchoes has the server answer.
func (g *Gateway) startEchoes() error {
	var udp []netip.Addr
	for i := range uint32(echoAddrs) {
		udp = append(udp, echoAddr(false, i))
		if g.ipv6 {
			udp = append(udp, echoAddr(true, i))
		}
	}
	return g.serve(g.Server, echoPort, udp...)
}

func (g *Gateway) serve(n *Namespace, port uint16, udp ...netip.Addr) error {
	s, err := startEcho(n, port, udp...)
	if err == nil {
		g.echo = append(g.echo, s)
	}
	return err
}

// Serve makes the gateway itself answer TCP on a port of all its addresses until
// Close, as sshd would an operator: Way.To leads there from a client.
func (g *Gateway) Serve(port uint16) error { return g.serve(g.Router, port) }

// openCount opens nf_conntrack_count of the gateway. The file stays that
// namespace's whoever reads it.
func (g *Gateway) openCount() (f *os.File, err error) {
	err = g.Router.Do(func() error {
		path, err := sysctl.Path(keyCount)
		if err != nil {
			return err
		}
		f, err = os.Open(path)
		return err
	})
	return f, err
}

// Count is the number of entries in the gateway's table.
func (g *Gateway) Count() (int, error) {
	var text [16]byte
	n, err := unix.Pread(int(g.count.Fd()), text[:], 0)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", keyCount, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text[:n])))
}

// SetTimeouts sets timeouts of the gateway, see Options.
func (g *Gateway) SetTimeouts(seconds map[string]int) error {
	return g.Router.Do(func() error {
		for name, s := range seconds {
			if err := sysctl.Write("net.netfilter.nf_conntrack_"+name, strconv.Itoa(s)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Reap walks the gateway's table by a dump, which frees entries that have
// expired, and returns the number it saw. The kernel's own gc came by 5, 31 and
// 56 s after 131,072 entries had expired (gc_worker sleeps up to a minute).
func (g *Gateway) Reap(ctx context.Context) (int, error) {
	return walkTable(ctx, g.Router)
}

// Close takes the gateway away. Traffic on it must have been stopped.
func (g *Gateway) Close() error {
	var errs []error
	for _, s := range g.echo {
		s.Close()
	}
	if g.count != nil {
		errs = append(errs, g.count.Close())
	}
	for _, n := range []*Namespace{g.Client, g.Router, g.Server} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // the claim stays for Cleanup
	}
	return g.claim.drop()
}
