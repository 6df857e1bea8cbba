package ctnetlink

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is there is received whether the receive is seen by the scheduler or not;
// what is not is waited for all the same, and the next one is seen again.
func TestReceiveAfterBrief(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	wait := unix.NsecToTimeval(int64(tick / 10))
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	var s socket
	s.wire(pair[0])
	buf := make([]byte, 4)
	for _, first := range []bool{false, true} {
		s.brief = first
		for range 3 {
			if _, err := unix.Write(pair[1], []byte("datagram")); err != nil {
				t.Fatal(err)
			}
			if n, sender, err := s.receive(buf); n != 8 || sender != 0 || err != nil || string(buf) != "data" {
				t.Errorf("brief %v: %d bytes %q from %d, %v", first, n, buf, sender, err)
			}
		}
		s.brief = first // it was, but for whatever else the machine does
		start := time.Now()
		_, _, err := s.receive(buf)
		for errors.Is(err, unix.EINTR) { // by a signal of Go's own
			_, _, err = s.receive(buf)
		}
		if took := time.Since(start); !errors.Is(err, unix.EAGAIN) || took < tick/20 || s.brief {
			t.Errorf("brief %v: %v after %v, then %v", first, err, took, s.brief)
		}
	}
}

// A long receive is one that the scheduler should have seen; so is the next.
func TestReceiveAfterLong(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	s := socket{brief: true}
	s.wire(pair[0])
	late := time.AfterFunc(5*brief, func() { _, _ = unix.Write(pair[1], []byte{1}) })
	defer late.Stop()
	if n, _, err := s.receive(make([]byte, 4)); n != 1 || err != nil || s.brief {
		t.Errorf("%d bytes, %v, brief %v", n, err, s.brief)
	}
}

// Of a new dump it is not known how long its parts take.
func TestSendForgetsBrief(t *testing.T) {
	c := answered(t, nil)
	c.socket.brief = true
	if err := c.send(make([]byte, 20)); err != nil || c.socket.brief {
		t.Errorf("%v, brief %v", err, c.socket.brief)
	}
}
