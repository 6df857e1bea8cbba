package ctnetlink

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bufferSize holds the greatest message of a dump: the kernel makes them as
// large as the receive buffer lets it, but no larger than 32 KiB
// (netlink_recvmsg).
const bufferSize = 32 << 10

// tick is how long a receive sleeps at most before it looks whether it is still
// wanted.
const tick = time.Second / 2

// patience is how long the kernel may be silent. It composes each datagram while
// the one before is received, so it is never waited for but when it is in
// trouble.
const patience = 5 * time.Second

// A Conn is a ctnetlink socket in one network namespace. It is for one goroutine
// at a time.
//
// A dump can't be called off but by closing its socket. So a walk that did not
// come to the end of the dump, for whatever reason, closes the Conn; one that did
// leaves it ready for another. Open costs some microseconds.
type Conn struct {
	fd       int // -1 when closed
	port     uint32
	seq      uint32
	buf      []byte
	receive  receive
	socket   *socket // that receive receives from, unless a test answers
	patience time.Duration
	reader   reader
}

// receive receives one datagram into buf and tells who sent it, by netlink port;
// the kernel has port 0. n is the datagram's true size: if it is larger than buf
// the rest is lost. It returns EAGAIN when none came within a tick.
type receive func(buf []byte) (n int, sender uint32, err error)

// Open opens a ctnetlink socket in the calling thread's network namespace. The
// socket stays in that namespace whichever thread uses it later.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open ctnetlink socket: %w", err)
	}
	port, err := setUp(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up ctnetlink socket: %w", err)
	}
	s := newSocket(fd)
	return &Conn{fd: fd, port: port, buf: make([]byte, bufferSize), receive: s.receive, socket: s, patience: patience}, nil
}

// setUp binds the socket to a port of the kernel's choice.
func setUp(fd int) (port uint32, err error) {
	wait := unix.NsecToTimeval(int64(tick))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return 0, os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	for option, name := range map[int]string{
		unix.NETLINK_CAP_ACK: "setsockopt NETLINK_CAP_ACK",
		unix.NETLINK_EXT_ACK: "setsockopt NETLINK_EXT_ACK",
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1); err != nil {
			return 0, os.NewSyscallError(name, err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	address, ok := name.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("getsockname returned a %T", name)
	}
	return address.Pid, nil
}

// Close closes the socket. Closing a closed Conn does nothing.
func (c *Conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close ctnetlink socket: %w", err)
	}
	return nil
}

// A socket holds what recvmsg(2) writes to, so that receiving allocates nothing.
// unix.Recvmsg would allocate the sender's address each time.
type socket struct {
	fd     int
	header unix.Msghdr
	vector unix.Iovec
	sender unix.RawSockaddrNetlink
	// unseen keeps what is there already from Go's scheduler, see Discard.
	unseen bool
}

func newSocket(fd int) *socket {
	s := &socket{fd: fd}
	s.header.Name = (*byte)(unsafe.Pointer(&s.sender))
	s.header.Iov = &s.vector
	s.header.SetIovlen(1)
	return s
}

func (s *socket) receive(buf []byte) (n int, sender uint32, err error) {
	s.vector.Base = unsafe.SliceData(buf)
	s.vector.SetLen(len(buf))
	s.header.Namelen = unix.SizeofSockaddrNetlink
	if s.unseen {
		size, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.header)), unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		if errno == 0 {
			return int(size), s.sender.Pid, nil
		}
	}
	// MSG_TRUNC: return the datagram's true size.
	size, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.header)), unix.MSG_TRUNC)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(size), s.sender.Pid, nil
}
