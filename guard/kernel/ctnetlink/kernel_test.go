package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// maxLock is held, exclusively, by whoever changes nf_conntrack_max or
// nf_conntrack_buckets of the machine: contrib/lab.MaxLock.
const maxLock = "/run/lock/conntrack-guardian-max.lock"

// inside runs f in a network namespace of its own, while nobody takes away the
// room that f's entries need.
func inside(t testing.TB, f func()) {
	t.Helper()
	lock, err := os.OpenFile(maxLock, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Do(netnstest.New(t), func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB) *Conn {
	t.Helper()
	return openSized(t, bufferSize)
}

func openSized(t testing.TB, bytes int) *Conn {
	t.Helper()
	c, err := OpenSized(bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// create makes one entry in the calling thread's namespace.
func create(t testing.TB, family uint8, attributes ...[]byte) {
	t.Helper()
	if err := tryCreate(t, family, attributes...); err != nil {
		t.Fatalf("make an entry of %x: %v", attributes, err)
	}
}

func tryCreate(t testing.TB, family uint8, attributes ...[]byte) error {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: ctNew, Flags: netlink.Request | netlink.Create | netlink.Excl | netlink.Acknowledge},
		Data:   body(family, attributes...),
	})
	return err
}

// flow is an entry from src to dst, and the same way back.
func flow(proto uint8, src, dst string, srcPort, dstPort uint16) Entry {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	e := Entry{
		Orig:   Tuple{from.As16(), to.As16(), srcPort, dstPort},
		Reply:  Tuple{to.As16(), from.As16(), dstPort, srcPort},
		Family: unix.AF_INET, Proto: proto, Status: StatusConfirmed, Timeout: 600,
	}
	if from.Is6() {
		e.Family = unix.AF_INET6
	}
	switch proto {
	case unix.IPPROTO_ICMP: // an echo request is answered by a reply, type 0
		e.Reply.SrcPort, e.Reply.DstPort = srcPort, 0
	case unix.IPPROTO_ICMPV6:
		e.Reply.SrcPort, e.Reply.DstPort = srcPort, 129<<8
	case unix.IPPROTO_TCP:
		e.TCPState = TCPEstablished
	case unix.IPPROTO_SCTP:
		e.SCTPState = SCTPEstablished
	}
	return e
}

// mixed makes one entry of each kind that the kernel dumps differently.
func mixed(t testing.TB) {
	t.Helper()
	tcp := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
	tcp.Status |= StatusSeenReply | StatusAssured
	tcp6 := flow(unix.IPPROTO_TCP, "2001:db8::1", "2001:db8:1::1", 40002, 443)
	tcp6.TCPState, tcp6.Status = TCPSynSent, StatusConfirmed
	udp := flow(unix.IPPROTO_UDP, "10.0.0.2", "192.0.2.1", 40003, 53)
	udp.Mark = 0x17
	udp6 := flow(unix.IPPROTO_UDP, "2001:db8::2", "2001:db8:1::1", 40003, 53)
	udp6.Mark, udp6.Status = 0x27, StatusConfirmed|StatusSeenReply|StatusAssured
	zone := flow(unix.IPPROTO_UDP, "10.0.0.2", "192.0.2.1", 40003, 53)
	zone.Zone = 1000
	natted := flow(unix.IPPROTO_TCP, "10.0.0.3", "192.0.2.1", 40004, 443)
	for _, e := range []Entry{
		tcp, tcp6, udp, udp6, zone,
		flow(unix.IPPROTO_ICMP, "10.0.0.1", "192.0.2.1", 77, 8<<8),
		flow(unix.IPPROTO_ICMPV6, "2001:db8::1", "2001:db8:1::1", 78, 128<<8),
		flow(unix.IPPROTO_SCTP, "10.0.0.1", "192.0.2.1", 40005, 36412),
		flow(unix.IPPROTO_GRE, "10.0.0.1", "192.0.2.1", 1, 2),
		flow(unix.IPPROTO_IPIP, "10.0.0.1", "192.0.2.1", 0, 0),
		flow(unix.IPPROTO_ESP, "2001:db8::1", "2001:db8:1::1", 0, 0),
	} {
		create(t, e.Family, attributes(e)...)
	}
	create(t, natted.Family, append(attributes(natted), nested(ctaNATSrc, attr(ctaNATMinIP, []byte{203, 0, 113, 9})))...)
	child := flow(unix.IPPROTO_UDP, "10.0.0.5", "192.0.2.1", 40008, 5004) // as a helper of the TCP above expected
	create(t, child.Family, append(attributes(child), nested(ctaTupleMaster, tuple(tcp, tcp.Orig)...))...)
	for i, direction := range []int{0, 1} { // a zone for one direction only
		e := flow(unix.IPPROTO_UDP, "10.0.0.4", "192.0.2.1", 40006+uint16(i), 53)
		create(t, e.Family, zoned(e, direction, 2000+uint16(i))...)
	}
}

// zoned is e with a zone for one direction only, 0 for the original.
func zoned(e Entry, direction int, zone uint16) [][]byte {
	tuples := [][]byte{nested(ctaTupleOrig, tuple(e, e.Orig)...), nested(ctaTupleReply, tuple(e, e.Reply)...)}
	tuples[direction] = nested([]uint16{ctaTupleOrig, ctaTupleReply}[direction],
		append(tuple(e, []Tuple{e.Orig, e.Reply}[direction]), attr(ctaTupleZone, u16(zone)))...)
	return append(tuples, attributes(e)[2:]...)
}

// Attributes that are only written.
const (
	ctaNATSrc      = 6
	ctaNATMinIP    = 1
	ctaTupleMaster = 14
)

// fill makes n entries in the calling thread's namespace, of TCP and UDP, IPv4
// and IPv6, a quarter each.
func fill(t testing.TB, n int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var batch []byte
	for i := range n {
		m := entry(numbered(i))
		binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		batch = append(batch, m...)
		if len(batch) < 32<<10 && i < n-1 {
			continue
		}
		if _, err := unix.Write(fd, batch); err != nil {
			t.Fatalf("make entry %d: %v", i, err)
		}
		// Only failures are answered, before write returns.
		if n, _, err := unix.Recvfrom(fd, make([]byte, 128), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			t.Fatalf("make entries up to %d: an answer of %d bytes, %v", i, n, err)
		}
		batch = batch[:0]
	}
}

// numbered is the i-th of many entries.
func numbered(i int) Entry {
	proto := []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}[i&1]
	src, dst := fmt.Sprintf("10.1.%d.%d", i>>2&0xff, i>>10&0xff), "192.0.2.1"
	if i&2 != 0 {
		src, dst = fmt.Sprintf("2001:db8::%x:%x", i>>2&0xff, i>>10&0xff), "2001:db8:1::1"
	}
	return flow(proto, src, dst, uint16(1024+i>>18), 443)
}
