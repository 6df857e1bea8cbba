package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Connections are lasting ones: TCP, with real sockets at both ends, established
// through a gateway and open until they are closed. They are idle but when used.
type Connections struct {
	clients []*client
	sources []netip.AddrPort

	mu   sync.Mutex
	dead map[*client]error
}

// Connect opens n connections to the server, each from an address of its own, and
// has each say something. All of them must be echoed within DefaultDeadline.
func (g *Gateway) Connect(ctx context.Context, n int) (*Connections, error) {
	return g.ConnectBy(ctx, n, Way{})
}

// ConnectBy does as Connect, from and to where it is told.
func (g *Gateway) ConnectBy(ctx context.Context, n int, w Way) (*Connections, error) {
	w, err := g.resolve(w)
	if err != nil {
		return nil, err
	}
	c := &Connections{dead: map[*client]error{}}
	err = g.Client.Do(func() error {
		for i := range n {
			client, err := openClient(unix.SOCK_STREAM, &w, uint32(i))
			if err != nil {
				return fmt.Errorf("open connection %d: %w", i, err)
			}
			c.clients = append(c.clients, client)
		}
		return nil
	})
	if err == nil {
		err = c.establish(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Connections) establish(ctx context.Context) error {
	deadline := time.Now().Add(DefaultDeadline)
	for i, client := range c.clients {
		if err := client.file.SetDeadline(deadline); err != nil {
			return err
		}
		if err := client.connected(); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		source, err := client.source()
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		c.sources = append(c.sources, source)
	}
	if alive := c.Use(ctx, len(c.clients)); alive < len(c.clients) {
		return fmt.Errorf("%d of %d connections are alive: %w", alive, len(c.clients), c.Err())
	}
	return nil
}

// Use has the first n connections say something and returns how many had it echoed
// within DefaultDeadline. One that had not is dead from then on. The kernel takes up
// a connection whose entry was deleted with the client's next packet (tcp_loose) if
// it can still translate it to the same port: whether the entries are the same
// is to be seen in the table.
func (c *Connections) Use(ctx context.Context, n int) (alive int) {
	var count atomic.Int64
	var group errgroup.Group
	for i, client := range c.clients[:n] {
		group.Go(func() error {
			err := recovered(func() error { return client.use(ctx, uint32(i)) })
			if err == nil {
				count.Add(1)
				return nil
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.dead[client] == nil {
				c.dead[client] = fmt.Errorf("connection %d: %w", i, err)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is counted
	return int(count.Load())
}

// Err is why connections are dead.
func (c *Connections) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []error
	for _, client := range c.clients {
		all = append(all, c.dead[client])
	}
	return errors.Join(all...)
}

// Sources are the addresses and ports that they come from, in their order.
func (c *Connections) Sources() []netip.AddrPort { return slices.Clone(c.sources) }

// Close closes all of them.
func (c *Connections) Close() error {
	var errs []error
	for _, client := range c.clients {
		if c.dead[client] == nil { // else use has closed it
			errs = append(errs, client.file.Close())
		}
	}
	return errors.Join(errs...)
}

// use says n once more on an open connection. One that fails is closed: its echo
// might come when another is waited for.
func (c *client) use(ctx context.Context, n uint32) (err error) {
	giveUp := context.AfterFunc(ctx, func() { _ = c.file.SetDeadline(time.Now()) })
	defer giveUp()
	if err = c.file.SetDeadline(time.Now().Add(DefaultDeadline)); err == nil {
		err = c.ask(binary.BigEndian.AppendUint32([]byte("are you still there? "), n))
	}
	if err != nil {
		_ = c.file.Close() // it may be closed
	}
	return err
}

// source is where the connection comes from.
func (c *client) source() (from netip.AddrPort, err error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return from, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var name unix.Sockaddr
		if name, failed = unix.Getsockname(int(fd)); failed == nil {
			from = addrPort(name)
		}
	})
	return from, errors.Join(err, failed)
}

// addrPort is a bound socket's name, in the family it was bound in.
func addrPort(name unix.Sockaddr) netip.AddrPort {
	if at, ok := name.(*unix.SockaddrInet6); ok {
		return netip.AddrPortFrom(netip.AddrFrom16(at.Addr), uint16(at.Port))
	}
	at := name.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
}
