package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A client is one connection or exchange. The socket is made by hand, because it
// must be made on a thread in the client's namespace, while Go's dialer uses
// whatever thread there is.
type client struct {
	kind int
	file *os.File // non-blocking, so deadlines work
}

// errEcho means that something else came back than was sent: not a lost packet
// but a broken lab.
var errEcho = errors.New("the echo differs from what was sent")

// openClient opens the socket of a way's n-th client in the thread's namespace and
// begins to connect it. The way must be resolved.
func openClient(kind int, w *Way, n uint32) (*client, error) {
	domain := unix.AF_INET
	if w.IPv6 {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(w.from(n), 0)))
	if err == nil {
		err = unix.Connect(fd, sockaddr(w.to(n)))
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &client{kind, os.NewFile(uintptr(fd), "client")}, nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if a := at.Addr(); a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(at.Port())}
	}
	return &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
}

// exchange finishes connecting, sends n, waits for its echo and closes. The end of
// the context closes at once.
func (c *client) exchange(ctx context.Context, n uint32, deadline time.Time) (err error) {
	giveUp := context.AfterFunc(ctx, func() { _ = c.file.Close() })
	defer func() {
		giveUp()
		err = errors.Join(err, c.file.Close())
	}()
	if err := c.file.SetDeadline(deadline); err != nil {
		return err
	}
	said := binary.BigEndian.AppendUint32([]byte("are you there? "), n)
	if c.kind == unix.SOCK_DGRAM {
		return c.askTwice(said, deadline)
	}
	if err := c.connected(); err != nil {
		return err
	}
	return c.ask(said)
}

// connected waits until the handshake is over.
func (c *client) connected() error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		if failed = err; err != nil {
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil // ENOTCONN: still under way
	})
	return errors.Join(err, failed)
}

// ask sends and compares the echo.
func (c *client) ask(said []byte) error {
	if _, err := c.file.Write(said); err != nil {
		return err
	}
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(c.file, heard); err != nil {
		return err
	}
	if string(heard) != string(said) {
		return fmt.Errorf("%w: %q, %q", errEcho, heard, said)
	}
	return nil
}

// askTwice asks again once, as a resolver would.
func (c *client) askTwice(said []byte, deadline time.Time) error {
	_ = c.file.SetDeadline(time.Now().Add(min(udpRetry, time.Until(deadline))))
	if err := c.ask(said); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	_ = c.file.SetDeadline(deadline)
	return c.ask(said)
}
