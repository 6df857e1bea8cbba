package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// packetWait is how long a packet socket waits for a frame before it looks
// whether it should stop.
const packetWait = 20 * time.Millisecond

// A packetSocket sends and receives frames on one link.
type packetSocket struct{ fd int }

// openPacket opens a socket on the namespace's upLink. With a filter it receives
// what passes of an Ethernet type; without, nothing: it is then only for sending.
func openPacket(n *Namespace, etherType uint16, filter []unix.SockFilter) (s *packetSocket, err error) {
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s = &packetSocket{fd}
		return s.setup(n, etherType, filter)
	})
	if err != nil {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		return nil, fmt.Errorf("open packet socket in %s: %w", n.Name, err)
	}
	return s, nil
}

// setup filters before it binds, so that no other frame gets in.
func (s *packetSocket) setup(n *Namespace, etherType uint16, filter []unix.SockFilter) error {
	link, err := n.links.LinkByName(upLink)
	if err != nil {
		return err
	}
	at := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
	if filter != nil {
		at.Protocol = bigEndian(etherType)
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
			return fmt.Errorf("attach filter: %w", err)
		}
	}
	wait := unix.NsecToTimeval(int64(packetWait))
	return errors.Join(
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
		unix.Bind(s.fd, at),
	)
}

func (s *packetSocket) Close() error { return unix.Close(s.fd) }

// bigEndian is htons.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// frameBatch is how many frames one system call moves at most.
const frameBatch = 128

// frames is memory for a batch of one layout, laid out once for sendmmsg and
// recvmmsg.
type frames struct {
	bytes [frameBatch][longFrame]byte
	iov   [frameBatch]unix.Iovec
	hdr   [frameBatch]unix.Mmsghdr
}

func newFrames(l *layout) *frames {
	f := new(frames)
	for i := range f.hdr {
		f.iov[i].Base = &f.bytes[i][0]
		f.iov[i].SetLen(l.size())
		f.hdr[i].Hdr.Iov = &f.iov[i]
		f.hdr[i].Hdr.SetIovlen(1)
	}
	return f
}

// taken is whether the link took the i-th frame when it was last sent: sendmmsg
// then notes its size.
func (f *frames) taken(i int) bool { return f.hdr[i].Len > 0 }

// send sends the first n frames and returns how many the link took. A frame that
// is refused for want of memory is left out, as a network would.
func (s *packetSocket) send(f *frames, n int) (sent int, err error) {
	for i := range n {
		f.hdr[i].Len = 0
	}
	for i := 0; i < n; {
		k, errno := s.mmsg(unix.SYS_SENDMMSG, f, i, n, 0)
		switch errno {
		case 0:
			sent += k
			i += k
		case unix.EINTR:
		case unix.ENOBUFS, unix.EAGAIN:
			i++
		default:
			return sent, fmt.Errorf("send frames: %w", errno)
		}
	}
	return sent, nil
}

// receive waits up to packetWait for a frame and takes what else is there.
func (s *packetSocket) receive(f *frames) (int, error) {
	k, errno := s.mmsg(unix.SYS_RECVMMSG, f, 0, frameBatch, unix.MSG_WAITFORONE)
	switch errno {
	case 0:
		return k, nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("receive frames: %w", errno)
}

func (s *packetSocket) mmsg(call uintptr, f *frames, from, to int, flags uintptr) (int, unix.Errno) {
	k, _, errno := unix.Syscall6(call, uintptr(s.fd), uintptr(unsafe.Pointer(&f.hdr[from])), uintptr(to-from), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(k), 0
}
