package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// shakeEvery is the time between two handshakes.
const shakeEvery = 5 * time.Millisecond

// shakeTo is the server's link and its echo service (RFC 862).
var shakeTo = unix.SockaddrInet4{Addr: [4]byte{172, 31, 2, 2}, Port: 7}

// shakes makes one connection after the other through the gateway and measures
// connect(2) on a thread of its own, without the Go runtime's part in it.
type shakes struct {
	took []time.Duration
	err  error
	done atomic.Bool
	over chan struct{}
}

func startShaking(g *lab.Gateway) *shakes {
	s := &shakes{over: make(chan struct{})}
	go func() {
		defer close(s.over)
		s.err = g.Client.Do(s.run)
	}()
	return s
}

func (s *shakes) run() error {
	for !s.done.Load() {
		took, err := shake()
		if err != nil {
			return fmt.Errorf("open a connection through the gateway: %w", err)
		}
		s.took = append(s.took, took)
		time.Sleep(shakeEvery)
	}
	return nil
}

// stop returns the times.
func (s *shakes) stop() ([]time.Duration, error) {
	s.done.Store(true)
	<-s.over
	return s.took, s.err
}

// shake times one handshake. It waits as long as a well-behaved client does for
// its echo; what was not there by then took that long. It resets the connection,
// so that nothing stays in TIME_WAIT.
func shake() (took time.Duration, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := unix.Connect(fd, &shakeTo); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return 0, err
	}
	if err := waitWritable(fd, began.Add(lab.DefaultDeadline)); err != nil {
		return 0, err
	}
	took = time.Since(began)
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	return took, err
}

// waitWritable waits until the handshake is over or the time has come.
func waitWritable(fd int, until time.Time) error {
	for {
		left := max(0, time.Until(until).Milliseconds())
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(left))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
