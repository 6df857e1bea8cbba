package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long one call may take. A commit waits for an RCU grace
// period, and the first one may load modules.
const patience = 5 * time.Second

// nfgenmsg is the size of the struct of that name, at the head of each body.
const nfgenmsg = 4

// datagram is more than the kernel puts into one part of a dump (32 KiB,
// netlink_recvmsg).
const datagram = 64 << 10

// A socket is the library's lasting one. Whoever reads through it must not do so
// while the library does.
type socket struct {
	family byte   // NFPROTO_*, of the table that messages are about
	table  string // its name
	lib    *nftables.Conn
	conn   *netlink.Conn
	raw    syscall.RawConn
	buf    []byte // of one datagram
}

// dial opens a socket in the calling thread's network namespace, for the counting
// table of a family.
func dial(family byte) (*socket, error) { return dialTable(family, Name) }

func dialTable(family byte, name string) (*socket, error) {
	s := &socket{family: family, table: name, buf: make([]byte, datagram)}
	capture := func(c *netlink.Conn) error { s.conn = c; return nil }
	var err error
	if s.lib, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(capture)); err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", unsupported(err))
	}
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("open nf_tables: %w", err), s.lib.CloseLasting())
	}
	return s, nil
}

// port is the socket's netlink port, by which the kernel names an owner; 0, which is
// nobody's, if it can't be told.
func (s *socket) port() (port uint32) {
	err := s.raw.Control(func(fd uintptr) {
		if name, err := unix.Getsockname(int(fd)); err == nil {
			if of, ok := name.(*unix.SockaddrNetlink); ok {
				port = of.Pid
			}
		}
	})
	if err != nil {
		return 0
	}
	return port
}

// ready sets the deadline of the next call and throws away what an earlier one
// that failed did not read.
func (s *socket) ready() error {
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var scrap [1]byte // the rest of a datagram is thrown away with it
	var err error
	waits := s.raw.Read(func(fd uintptr) bool {
		for err == nil || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) {
			_, _, err = unix.Recvfrom(int(fd), scrap[:], unix.MSG_DONTWAIT)
		}
		return true
	})
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return errors.Join(waits, err)
}

// flush sends what the library has gathered, as one transaction.
func (s *socket) flush() error {
	if err := s.ready(); err != nil {
		return err
	}
	return s.lib.Flush()
}

// exchange sends messages and waits until each is acknowledged, which every one
// must ask for, or its dump is done. What else comes as an answer goes to each,
// without the nfgenmsg; it is only good until each returns.
func (s *socket) exchange(each func(attrs []byte) error, msgs ...netlink.Message) error {
	if err := s.ready(); err != nil {
		return err
	}
	sent, err := s.conn.SendMessages(msgs)
	if err != nil {
		return err
	}
	waiting := 0
	for _, m := range sent {
		if m.Header.Flags&netlink.Acknowledge != 0 || m.Header.Flags&netlink.Dump == netlink.Dump {
			waiting++
		}
	}
	for waiting > 0 {
		answers, err := s.receive()
		if err != nil {
			return err
		}
		for _, a := range answers {
			ended, err := answer(a, each)
			if err != nil {
				return err
			}
			if ended {
				waiting--
			}
		}
	}
	return nil
}

// answer deals with one message. Ended means that it was the last for its
// request.
//
// A dump may be marked NLM_F_DUMP_INTR: the ruleset of the namespace changed
// meanwhile. The change is somebody else's, in another table.
func answer(m syscall.NetlinkMessage, each func(attrs []byte) error) (ended bool, err error) {
	switch m.Header.Type {
	case unix.NLMSG_ERROR, unix.NLMSG_DONE:
		if len(m.Data) < 4 {
			return true, errCutShort
		}
		if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
			return true, unix.Errno(errno)
		}
		return true, nil
	case unix.NLMSG_NOOP:
		return false, nil
	}
	if len(m.Data) < nfgenmsg {
		return false, errCutShort
	}
	return false, each(m.Data[nfgenmsg:])
}

// receive reads one datagram. Its messages are good until the next one.
func (s *socket) receive() ([]syscall.NetlinkMessage, error) {
	var n int
	var err error
	waits := s.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), s.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if err := errors.Join(waits, err); err != nil {
		return nil, err
	}
	if n > len(s.buf) {
		return nil, fmt.Errorf("answer of %d bytes", n)
	}
	return syscall.ParseNetlinkMessage(s.buf[:n])
}

// message is one of nf_tables, about a table of the socket's family.
func (s *socket) message(kind uint16, flags netlink.HeaderFlags, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{s.family, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
}

// transact sends changes as one transaction.
func (s *socket) transact(changes ...netlink.Message) error {
	bracket := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			// Any family, version 0, the subsystem in network byte order.
			Data: []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
		}
	}
	all := []netlink.Message{bracket(unix.NFNL_MSG_BATCH_BEGIN)}
	all = append(all, changes...)
	all = append(all, bracket(unix.NFNL_MSG_BATCH_END))
	return s.exchange(func([]byte) error { return nil }, all...)
}

// attributes encodes attributes of an nf_tables message.
func attributes(encode func(*netlink.AttributeEncoder)) []byte {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	encode(e)
	b, err := e.Encode()
	if err != nil { // only of a value beyond 64 KiB
		panic("nft: encode attributes: " + err.Error())
	}
	return b
}
