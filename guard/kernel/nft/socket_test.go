package nft

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What an earlier call left unread is no answer to the next one.
func TestRootStaleAnswersAreThrownAway(t *testing.T) {
	table := installIn(t, loopback(t), ordinary)
	fillSets(t, table)
	s := table.socket
	set := attributes(func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, Name)
		e.String(unix.NFTA_SET_ELEM_LIST_SET, sources4)
	})
	for name, stale := range map[string]netlink.Message{
		"an error":           s.message(unix.NFT_MSG_GETTABLE, netlink.Acknowledge, nil),
		"a dump in progress": s.message(unix.NFT_MSG_GETSETELEM, netlink.Dump, set),
	} {
		for next, call := range map[string]func() error{
			"present": func() error { present(t, table, true); return nil },
			"read": func() error {
				c, err := table.Read()
				if len(c.Sources) != 2*setSize {
					t.Errorf("%d sources", len(c.Sources))
				}
				return err
			},
			"flush": func() error {
				s.lib.AddObj(&nftables.CounterObj{Table: table.table, Name: "one more"})
				return s.flush()
			},
		} {
			if _, err := s.conn.Send(stale); err != nil {
				t.Fatal(err)
			}
			if err := call(); err != nil {
				t.Errorf("%s after %s: %v", next, name, err)
			}
		}
	}
}

func TestRootCallsHaveADeadline(t *testing.T) {
	table := installIn(t, loopback(t), ordinary)
	if err := table.socket.ready(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := table.socket.receive() // nothing was asked
	if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < patience-time.Second || took > patience+5*time.Second {
		t.Errorf("%v after %s, want the deadline of %s", err, took, patience)
	}
	present(t, table, true) // the next call has its own
}

func TestAnswer(t *testing.T) {
	errno := func(n int32) []byte {
		return binary.NativeEndian.AppendUint32(nil, uint32(-n))
	}
	for _, tc := range []struct {
		name  string
		kind  uint16
		data  []byte
		ended bool
		err   error
		body  string
	}{
		{name: "acknowledged", kind: unix.NLMSG_ERROR, data: errno(0), ended: true},
		{name: "refused", kind: unix.NLMSG_ERROR, data: errno(int32(unix.ENOENT)), ended: true, err: unix.ENOENT},
		{name: "dumped", kind: unix.NLMSG_DONE, data: errno(0), ended: true},
		{name: "dump failed", kind: unix.NLMSG_DONE, data: errno(int32(unix.ENOMEM)), ended: true, err: unix.ENOMEM},
		{name: "error cut short", kind: unix.NLMSG_ERROR, data: errno(0)[:3], ended: true, err: errCutShort},
		{name: "noop", kind: unix.NLMSG_NOOP},
		{name: "body", kind: 0xa00, data: []byte("....body"), body: "body"},
		{name: "body cut short", kind: 0xa00, data: []byte("..."), err: errCutShort},
	} {
		var body string
		m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: tc.kind}, Data: tc.data}
		ended, err := answer(m, func(b []byte) error { body = string(b); return nil })
		if ended != tc.ended || !errors.Is(err, tc.err) || body != tc.body {
			t.Errorf("%s: ended %v, %v, body %q", tc.name, ended, err, body)
		}
	}
}
