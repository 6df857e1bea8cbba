package ctnetlink

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// Only the end of its own dump ends it.
func TestDiscardEnds(t *testing.T) {
	e := entry(flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443))
	for name, last := range map[string][]byte{
		"another type":     answer(unix.NLMSG_NOOP, 0, errno(0)),
		"another sequence": changed(done(), 8),
		"another port":     changed(done(), 12),
		"another size":     answer(unix.NLMSG_DONE, 0, make([]byte, 8)),
		"too short":        done()[:unix.SizeofNlMsghdr],
	} {
		synctest.Test(t, func(t *testing.T) {
			c := answered(t, inTurn(reception{datagram: append(bytes.Clone(e), last...)}))
			if datagrams, size, err := c.Discard(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) || datagrams != 1 || size != len(e)+len(last) {
				t.Errorf("%s: %d datagrams, %d bytes, %v", name, datagrams, size, err)
			}
		})
	}
	c := answered(t, inTurn(reception{datagram: e}, reception{datagram: append(bytes.Clone(e), done()...)}))
	if datagrams, size, err := c.Discard(t.Context()); err != nil || datagrams != 2 || size != 2*len(e)+doneSize {
		t.Errorf("%d datagrams, %d bytes, %v", datagrams, size, err)
	}
}

// changed is b with another byte at i.
func changed(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i]++
	return b
}
