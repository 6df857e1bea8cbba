package ctnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Walk dumps the entries that match q and calls each for every one, with an Entry
// that is filled anew once each returns; each returns false to stop the walk.
// Between, which may be nil, is called before every receive but the first with
// the number of entries so far. The kernel dumps only as fast as it is read, so
// sleeping there paces it. An error of between ends the walk and is returned as
// it is.
//
// Walk returns the number of entries handed to each. It notices the end of ctx
// within half a second when the kernel is silent, and before the next receive
// (200 entries or so) otherwise, and returns its cause.
func (c *Conn) Walk(ctx context.Context, q Query, each func(*Entry) bool, between func(read int) error) (read int, err error) {
	request, match, err := q.compile()
	if err != nil {
		return 0, reading(err)
	}
	r := &c.reader
	*r = reader{seq: c.seq + 1, port: c.port, filter: match, each: each}
	err = c.dump(ctx, request, func(datagram []byte) error {
		if err := r.datagram(datagram); err != nil || between == nil {
			return reading(err)
		}
		return between(r.read)
	})
	if errors.Is(err, errStopped) {
		err = nil
	}
	return r.read, err
}

// reading says what went wrong in which act.
func reading(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read the conntrack table: %w", err)
}

// dump sends a request and hands each datagram of the answer to use, until that
// returns errDone. Any other error closes the Conn.
func (c *Conn) dump(ctx context.Context, request []byte, use func(datagram []byte) error) error {
	if c.fd < 0 {
		return reading(fmt.Errorf("%w, or its last walk did not come to the end", os.ErrClosed))
	}
	err := reading(c.send(request))
	for err == nil {
		var datagram []byte
		if datagram, err = c.next(ctx); err == nil {
			err = use(datagram)
		}
	}
	if errors.Is(err, errDone) {
		return nil
	}
	_ = c.Close() // nothing was written that could be lost
	return err
}

// send sends a request under a sequence number of its own, by which the answers
// are known. The kernel composes the first of them before write(2) returns.
func (c *Conn) send(request []byte) error {
	c.seq++
	c.socket.brief = false // what this dump is like is not known yet
	binary.NativeEndian.PutUint32(request[8:], c.seq)
	for {
		_, err := unix.Write(c.fd, request) // without an address: to the kernel
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("write", err)
		}
	}
}

// next receives the next datagram from the kernel, valid until the following
// call. Datagrams of anybody else are dropped, and don't make it wait longer.
func (c *Conn) next(ctx context.Context) ([]byte, error) {
	until := time.Now().Add(c.patience)
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, reading(err)
		}
		n, sender, err := c.receive(c.buf)
		switch {
		case err == nil && sender == 0:
			return c.whole(n)
		case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			if time.Now().After(until) {
				return nil, reading(fmt.Errorf("the kernel is silent for %v: %w", c.patience, os.ErrDeadlineExceeded))
			}
		case errors.Is(err, unix.ENOBUFS):
			return nil, reading(fmt.Errorf("the kernel has no memory for the next part of the dump: %w", err))
		default:
			return nil, reading(os.NewSyscallError("recvmsg", err))
		}
	}
}

// whole is the datagram of n bytes that was received, if all of it was.
func (c *Conn) whole(n int) ([]byte, error) {
	if n > len(c.buf) {
		return nil, reading(fmt.Errorf("a datagram of %d bytes is larger than the buffer of %d", n, len(c.buf)))
	}
	return c.buf[:n], nil
}
