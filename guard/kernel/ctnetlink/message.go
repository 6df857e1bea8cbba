package ctnetlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Message types of ctnetlink, enum cntl_msg_types in nfnetlink_conntrack.h.
const (
	ctNew = unix.NFNL_SUBSYS_CTNETLINK << 8 // an entry of a dump
	ctGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
)

// A header is struct nlmsghdr without the length. It is in host byte order.
type header struct {
	typ, flags uint16
	seq, port  uint32
}

// cutMessage takes the first message off b. Messages begin at multiples of 4
// bytes.
func cutMessage(b []byte) (h header, body, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return h, nil, nil, fmt.Errorf("%d bytes are too short for a message", len(b))
	}
	n := binary.NativeEndian.Uint32(b)
	if n < unix.SizeofNlMsghdr || uint64(n) > uint64(len(b)) {
		return h, nil, nil, fmt.Errorf("a message of %d bytes where %d are left", n, len(b))
	}
	h.typ = binary.NativeEndian.Uint16(b[4:])
	h.flags = binary.NativeEndian.Uint16(b[6:])
	h.seq = binary.NativeEndian.Uint32(b[8:])
	h.port = binary.NativeEndian.Uint32(b[12:])
	return h, b[unix.SizeofNlMsghdr:n], b[min((int(n)+3)&^3, len(b)):], nil
}

// ErrInterrupted is that the kernel calls its own dump inconsistent
// (NLM_F_DUMP_INTR). Up to Linux 6.18 ctnetlink never does.
var ErrInterrupted = errors.New("the table changed under the dump")

// How a dump ends that is not broken off by an error.
var (
	errDone    = errors.New("the dump is complete")
	errStopped = errors.New("stopped early")
)

// A reader takes a dump's datagrams apart.
type reader struct {
	parser
	seq, port uint32 // of the answers to the request
	filter    filter
	each      func(*Entry) bool
	read      int // entries handed to each
}

// datagram reads all messages of a datagram. It returns errDone at the end of
// the dump and errStopped when each wants no more.
func (r *reader) datagram(b []byte) error {
	if len(b) == 0 {
		return errors.New("an empty datagram")
	}
	for len(b) > 0 {
		h, body, rest, err := cutMessage(b)
		if err != nil {
			return err
		}
		b = rest
		if h.seq != r.seq || h.port != r.port {
			continue
		}
		if err := r.message(h, body); err != nil {
			if errors.Is(err, errDone) && len(rest) > 0 {
				return fmt.Errorf("%d bytes after the end of the dump", len(rest))
			}
			return err
		}
	}
	return nil
}

func (r *reader) message(h header, body []byte) error {
	if h.flags&unix.NLM_F_DUMP_INTR != 0 {
		return ErrInterrupted
	}
	switch h.typ {
	case ctNew:
		return r.entry(body)
	case unix.NLMSG_DONE:
		if err := result("NLMSG_DONE", h, body, 0); err != nil {
			return err
		}
		return errDone
	case unix.NLMSG_ERROR:
		if err := result("NLMSG_ERROR", h, body, unix.SizeofNlMsghdr); err != nil {
			return err
		}
		return errors.New("an acknowledgement, which was not asked for")
	case unix.NLMSG_NOOP:
		return nil
	}
	return fmt.Errorf("a message of type %#x", h.typ)
}

func (r *reader) entry(body []byte) error {
	if err := r.parse(body); err != nil {
		return fmt.Errorf("malformed entry: %w", err)
	}
	if !r.filter.match(&r.Entry) {
		return nil
	}
	r.read++
	if !r.each(&r.Entry) {
		return errStopped
	}
	return nil
}

// result is the outcome that NLMSG_ERROR and NLMSG_DONE carry: a negative errno
// or 0, then what repeats the request (its header, as NETLINK_CAP_ACK asks for),
// then attributes, one of which may say in words what was wrong.
func result(name string, h header, body []byte, request int) error {
	if len(body) < 4+request {
		return fmt.Errorf("%s of %d bytes is cut short", name, len(body))
	}
	code := int32(binary.NativeEndian.Uint32(body))
	if code == 0 {
		return nil
	}
	if code > 0 || code < -4095 { // MAX_ERRNO
		return fmt.Errorf("%s with the result %d, which is no errno", name, code)
	}
	err := refusal(unix.Errno(-code))
	if h.flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	if words := words(body[4+request:]); words != "" {
		return fmt.Errorf("%w: %s", err, words)
	}
	return err
}

func refusal(errno unix.Errno) error {
	switch errno {
	case unix.EPERM:
		return fmt.Errorf("the kernel refuses: %w (CAP_NET_ADMIN is needed)", errno)
	case unix.EOPNOTSUPP, unix.EINVAL:
		return fmt.Errorf("the kernel refuses: %w (it may not know a filter of the query)", errno)
	}
	return fmt.Errorf("the kernel reports: %w", errno)
}

// words is the text of the extended acknowledgement, empty if there is none.
func words(attributes []byte) string {
	n := nest{level: acknowledgement, b: attributes}
	if !n.next() {
		return ""
	}
	text, _, _ := bytes.Cut(n.value(), []byte{0})
	return string(text)
}

var acknowledgement = levelOf(map[uint16]string{unix.NLMSGERR_ATTR_MSG: "NLMSGERR_ATTR_MSG"})
