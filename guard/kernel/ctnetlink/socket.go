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

// leastBuffer holds the kernel's smallest datagrams: a page of up to 8 KiB
// (NLMSG_GOODSIZE).
var leastBuffer = min(os.Getpagesize(), 8<<10)

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
	socket   socket // that receive receives from, unless a test answers
	patience time.Duration
	reader   reader
}

// receive receives one datagram into buf and tells who sent it, by netlink port;
// the kernel has port 0. n is the datagram's true size: if it is larger than buf
// the rest is lost. It returns EAGAIN when none came within a tick.
type receive func(buf []byte) (n int, sender uint32, err error)

// Open opens a ctnetlink socket in the calling thread's network namespace. The
// socket stays in that namespace whichever thread uses it later.
func Open() (*Conn, error) { return OpenSized(bufferSize) }

// openSocket opens a socket that only the kernel of the calling thread's namespace
// is spoken to with.
func openSocket() (fd int, port uint32, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, 0, fmt.Errorf("open ctnetlink socket: %w", err)
	}
	port, err = setUp(fd)
	if err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("set up ctnetlink socket: %w", err)
	}
	return fd, port, nil
}

// OpenSized is Open with a receive buffer of so many bytes, which the kernel makes
// its datagrams no larger than. Less than leastBuffer is taken as that, more than
// what Open has as what Open has.
//
// When one datagram is received the kernel reads the entries of the next one. With
// small ones less time goes by between that and what is done about an entry. A walk
// of 200,000 entries costs 1.37 us of CPU each with datagrams of 4 KiB (19 entries)
// or 8 KiB (38), 1.33 us with 16 KiB, and 1.30 us with the 32 KiB of Open.
func OpenSized(bytes int) (*Conn, error) {
	fd, port, err := openSocket()
	if err != nil {
		return nil, err
	}
	c := &Conn{fd: fd, port: port, buf: make([]byte, min(max(bytes, leastBuffer), bufferSize)), patience: patience}
	c.socket.wire(fd)
	c.receive = c.socket.receive
	return c, nil
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
	brief  bool // the last receive was, see receive
}

func (s *socket) wire(fd int) {
	s.fd = fd
	s.header.Name = (*byte)(unsafe.Pointer(&s.sender))
	s.header.Iov = &s.vector
	s.header.SetIovlen(1)
}

// brief is how long a receive takes at most after which the next one is made
// behind the back of Go's scheduler.
const brief = time.Millisecond

// receive receives a datagram, for which the kernel composes the one after it.
//
// Go's scheduler sees a thread in the kernel for longer than 20 us, and wakes
// another one to run what else there is: usually nothing, at a tenth of the CPU
// time of a walk. But it must not be kept from running the rest of the program for
// long, and when a query lets hardly anything through, or the table is another
// namespace's, the kernel may pass over all of a large one in a single receive.
// The entries of a dump are spread evenly over the table, so one part of it takes
// about as long as the part before. After a brief receive the next one is made
// unseen; after a longer one, and at first, the scheduler is told.
func (s *socket) receive(buf []byte) (n int, sender uint32, err error) {
	s.vector.Base = unsafe.SliceData(buf)
	s.vector.SetLen(len(buf))
	s.header.Namelen = unix.SizeofSockaddrNetlink
	start := time.Now()
	size, errno := s.recvmsg()
	s.brief = errno == 0 && time.Since(start) < brief
	if errno != 0 {
		return 0, 0, errno
	}
	return int(size), s.sender.Pid, nil
}

// recvmsg returns the datagram's true size (MSG_TRUNC). What is not there already
// it always waits for in the scheduler's sight.
func (s *socket) recvmsg() (size uintptr, errno unix.Errno) {
	if s.brief {
		size, _, errno = unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.header)), unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		if errno == 0 {
			return size, 0
		}
	}
	size, _, errno = unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.header)), unix.MSG_TRUNC)
	return size, errno
}

// poll receives a datagram if there is one, and does not wait.
func (s *socket) poll(buf []byte) (n int, sender uint32, err error) {
	s.vector.Base = unsafe.SliceData(buf)
	s.vector.SetLen(len(buf))
	s.header.Namelen = unix.SizeofSockaddrNetlink
	size, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.header)), unix.MSG_TRUNC|unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(size), s.sender.Pid, nil
}
