package lab

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// firstFrame is the first packet of a flow from the first source.
func firstFrame(l *layout, p Pattern, i uint64) []byte {
	f := make([]byte, l.size())
	l.putFirst(f, p, clientMAC, lanMAC)
	l.putFlow(f, i, l.flooders.Addr())
	return f
}

// eachLayout runs a test for both versions of IP.
func eachLayout(t *testing.T, test func(t *testing.T, l *layout)) {
	t.Run("IPv4", func(t *testing.T) { test(t, layout4) })
	t.Run("IPv6", func(t *testing.T) { test(t, layout6) })
}

// The frames of a connection, from its SYN to the last acknowledgement.
func TestAnswer(t *testing.T) {
	eachLayout(t, func(t *testing.T, l *layout) {
		f := firstFrame(l, TimedWait, 60_001)
		syn := slices.Clone(f)
		checkSums(t, l, f)
		for i, want := range []struct {
			flags    uint8
			seq, ack uint8
		}{
			{flagSYN | flagACK, 0, 1},
			{flagACK, 1, 1},
			{flagFIN | flagACK, 1, 1},
			{flagFIN | flagACK, 1, 2},
			{flagACK, 2, 2},
		} {
			l.answer(f)
			checkSums(t, l, f)
			seg := f[l.transport:]
			if seg[tcpFlags] != want.flags || seg[tcpSeq+3] != want.seq || seg[tcpAck+3] != want.ack {
				t.Errorf("answer %d: flags %#x, seq %d, ack %d, want %+v", i, seg[tcpFlags], seg[tcpSeq+3], seg[tcpAck+3], want)
			}
			if i%2 == 0 { // the server's
				continue
			}
			if d := cmp.Diff(syn[:l.transport+tcpSeq], f[:l.transport+tcpSeq]); d != "" {
				t.Errorf("answer %d does not go where the SYN went, or is of another flow:\n%s", i, d)
			}
		}
	})
}

// An answered datagram is the same with its ends exchanged.
func TestAnswerUDP(t *testing.T) {
	eachLayout(t, func(t *testing.T, l *layout) {
		f := firstFrame(l, UDPReplied, 60_001)
		asked := slices.Clone(f)
		l.answer(f)
		checkSums(t, l, f)
		if d := cmp.Diff(asked[l.transport+udpSize:], f[l.transport+udpSize:]); d != "" {
			t.Errorf("the answer says something else:\n%s", d)
		}
		l.answer(f)
		if d := cmp.Diff(asked, f); d != "" {
			t.Errorf("answered twice:\n%s", d)
		}
	})
}

// checkSums verifies as a receiver does: summed with its checksum, all bits are set.
// UDP has it elsewhere than TCP, and over IPv4 none.
func checkSums(t *testing.T, l *layout, f []byte) {
	t.Helper()
	if got := fold(sum(f[ethSize:l.transport])); l == layout4 && got != 0 {
		t.Errorf("IPv4 checksum is off by %#x", got)
	}
	seg := f[l.transport:]
	if f[l.proto] == unix.IPPROTO_UDP {
		if is := seg[udpSum] != 0 || seg[udpSum+1] != 0; is != (l == layout6) {
			t.Errorf("a checksum of UDP: %v", is)
		}
		if l == layout4 {
			return
		}
	}
	if got := fold(sum(f[l.src:l.transport]) + uint32(f[l.proto]) + tcpSize + sum(seg)); got != 0 {
		t.Errorf("checksum is off by %#x", got)
	}
}

// A checksum that comes to 0 would be none (RFC 768).
func TestPutSumOfNothing(t *testing.T) {
	b := []byte{0xff, 0xff, 7, 7}
	if putSum(b[2:], 0, b); b[2] != 0xff || b[3] != 0xff {
		t.Errorf("%x, want a checksum of ffff", b)
	}
}

// No two flows share source port and destination, on which masquerading rests.
func TestFlowsDiffer(t *testing.T) {
	eachLayout(t, func(t *testing.T, l *layout) {
		seen := map[string]uint64{}
		f := make([]byte, l.size())
		for i := uint64(0); i < 300_000; i += 7 {
			l.putFlow(f, i, l.flooders.Addr())
			k := string(f[l.dst : l.transport+dport])
			if j, twice := seen[k]; twice {
				t.Fatalf("flows %d and %d are the same after masquerading", i, j)
			}
			seen[k] = i
		}
	})
}
