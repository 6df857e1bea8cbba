package entries_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
)

// attribute is a netlink attribute, of a nest if the type says so.
func attribute(typ uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func nest(typ uint16, of ...[]byte) []byte {
	var content []byte
	for _, a := range of {
		content = append(content, a...)
	}
	return attribute(typ|unix.NLA_F_NESTED, content...)
}

// rawTuple is CTA_TUPLE_ORIG or CTA_TUPLE_REPLY of a protocol that the lab can't fill
// with: GRE with its keys, or one without ports.
func rawTuple(typ uint16, proto uint8, src, dst [4]byte) []byte {
	protocol := [][]byte{attribute(1, proto)} // CTA_PROTO_NUM
	if proto == unix.IPPROTO_GRE {
		protocol = append(protocol, attribute(2, 0, 9), attribute(3, 0, 9)) // CTA_PROTO_SRC_PORT, _DST_PORT
	}
	return nest(typ, nest(1, attribute(1, src[:]...), attribute(2, dst[:]...)), nest(2, protocol...))
}

// addRaw makes entries of a protocol, and returns how many.
func addRaw(t *testing.T, g *lab.Gateway, proto uint8, left uint32, n int) int {
	t.Helper()
	err := netns.Do(g.Router.Path(), func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for i := range n {
			src, dst := [4]byte{10, 77, proto, byte(i)}, [4]byte{10, 78, proto, 1}
			body := []byte{unix.AF_INET, 0, 0, 0}
			body = append(body, rawTuple(1, proto, src, dst)...)
			body = append(body, rawTuple(2, proto, dst, src)...)
			body = append(body, attribute(3, 0, 0, 0, ctnetlink.StatusConfirmed)...)                     // CTA_STATUS
			body = append(body, attribute(7, binary.BigEndian.AppendUint32(nil, left)...)...)            // CTA_TIMEOUT
			m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))            // nlmsg_len
			m = binary.NativeEndian.AppendUint16(m, unix.NFNL_SUBSYS_CTNETLINK<<8)                       // IPCTNL_MSG_CT_NEW
			m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK) //
			m = append(binary.NativeEndian.AppendUint32(m, uint32(i)), 0, 0, 0, 0)
			if err := exchange(fd, append(m, body...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("make entries of protocol %d: %v", proto, err)
	}
	return n
}

// exchange sends a message and returns the error that it is answered with.
func exchange(fd int, m []byte) error {
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var answer [1024]byte
	n, _, err := unix.Recvfrom(fd, answer[:], 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return errors.New("a short answer")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// deleteAll deletes the entries of a kind.
func deleteAll(t *testing.T, g *lab.Gateway, is func(*ctnetlink.Entry) bool) {
	t.Helper()
	list := table(t, g)
	err := netns.Do(g.Router.Path(), func() error {
		b, err := ctnetlink.OpenBatch()
		if err != nil {
			return err
		}
		defer b.Close()
		for i := range list {
			if is(&list[i]) {
				if err := b.Delete(&list[i]); err != nil {
					return err
				}
			}
		}
		_, err = b.Send(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
