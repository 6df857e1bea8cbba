package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// Messages of ctnetlink, nfnetlink_conntrack.h.
const (
	ctNew = uint16(netfilter.NFSubsysCTNetlink) << 8   // IPCTNL_MSG_CT_NEW, which is 0
	ctGet = uint16(netfilter.NFSubsysCTNetlink)<<8 | 1 // IPCTNL_MSG_CT_GET
)

// A ctSocket talks raw ctnetlink: the libraries make a Go value of every
// message, which is most of the cost of a batch or a walk.
type ctSocket struct{ fd int }

// openCT opens a socket in a namespace. Replies that are not there within a
// second are an error (EAGAIN).
func openCT(n *Namespace) (s *ctSocket, err error) {
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		s = &ctSocket{fd}
		return s.setup()
	})
	if err != nil {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		return nil, fmt.Errorf("open ctnetlink in %s: %w", n.Name, err)
	}
	return s, nil
}

// setup makes room for a batch that fails message by message, and asks for
// errors without a copy of the message.
func (s *ctSocket) setup() error {
	const room = 8 << 20
	second := unix.NsecToTimeval(int64(time.Second))
	return errors.Join(
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room),
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &second),
		unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
}

func (s *ctSocket) Close() error { return unix.Close(s.fd) }

// send hands whole messages to the kernel, which has dealt with all of them when
// it returns.
func (s *ctSocket) send(msgs []byte) error {
	return unix.Sendto(s.fd, msgs, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive reads one datagram of messages.
func (s *ctSocket) receive(buf []byte, flags int) ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, buf, flags)
		if err == nil {
			return buf[:n], nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
}

// messages calls fn with the type and the body of each message.
func messages(b []byte, fn func(kind uint16, body []byte) error) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return fmt.Errorf("netlink message of %d bytes in %d", size, len(b))
		}
		if err := fn(binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size]); err != nil {
			return err
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}

// nlErrno is what an NLMSG_ERROR says, 0 if it is an acknowledgement.
func nlErrno(body []byte) unix.Errno {
	return unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
}

// appendHeader begins a message; its length is set by finish.
func appendHeader(b []byte, kind, flags uint16, family uint8) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)             // sequence and port: not used
	return append(b, family, unix.NFNETLINK_V0, 0, 0) // nfgenmsg
}

func finish(msg []byte) []byte {
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	return msg
}

// walkTable dumps a namespace's table, throwing the entries away, and returns
// how many there were.
func walkTable(ctx context.Context, n *Namespace) (entries int, err error) {
	s, err := openCT(n)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := s.send(finish(appendHeader(nil, ctGet, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, unix.AF_UNSPEC))); err != nil {
		return 0, fmt.Errorf("dump table of %s: %w", n.Name, err)
	}
	buf := make([]byte, 1<<16)
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return entries, err
		}
		b, err := s.receive(buf, 0)
		if err != nil {
			return entries, fmt.Errorf("dump table of %s: %w", n.Name, err)
		}
		err = messages(b, func(kind uint16, body []byte) error {
			switch kind {
			case ctNew:
				entries++
			case unix.NLMSG_DONE:
				done = true
			case unix.NLMSG_ERROR:
				return fmt.Errorf("dump table of %s: %w", n.Name, nlErrno(body))
			}
			return nil
		})
		if err != nil {
			return entries, err
		}
	}
	return entries, nil
}
