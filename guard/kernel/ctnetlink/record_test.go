package ctnetlink

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// recorded is a datagram as Linux 6.18 sent it on a little-endian machine, with
// one entry of each kind and many ordinary ones.
const recorded = "testdata/datagram"

var record = flag.Bool("record", false, "write "+recorded+" anew")

// The kernel sends what the recorded datagram, from which other tests start,
// is like.
func TestRootRecorded(t *testing.T) {
	var largest []byte
	inside(t, func() {
		mixed(t)
		fill(t, 120)
		c := open(t)
		all := collect(t, c, Query{}) // the first answer is short, the socket having received nothing yet
		request, f, err := Query{}.compile()
		if err != nil {
			t.Fatal(err)
		}
		r := reader{seq: c.seq + 1, port: c.port, filter: f, each: func(*Entry) bool { return true }}
		if err := c.dump(context.Background(), request, func(b []byte) error {
			if len(b) > len(largest) {
				largest = bytes.Clone(b)
			}
			return r.datagram(b)
		}); err != nil {
			t.Fatal(err)
		}
		for b := largest; len(b) > 0; b = b[(binary.NativeEndian.Uint32(b)+3)&^3:] {
			binary.NativeEndian.PutUint32(b[8:], sequence)
			binary.NativeEndian.PutUint32(b[12:], port)
		}
		if r.read != len(all) {
			t.Errorf("%d entries, then %d", len(all), r.read)
		}
	})
	if *record {
		if err := os.WriteFile(recorded, largest, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if now, then := kinds(t, largest), kinds(t, readRecorded(t)); now != then {
		t.Errorf("the kernel sends %+v, recorded are %+v", now, then)
	}
}

// kinds counts what a datagram has of each.
func kinds(t *testing.T, datagram []byte) (k struct{ all, v6, zoned, marked, natted, icmp, sctp, expected int }) {
	t.Helper()
	r := reader{seq: sequence, port: port, each: func(e *Entry) bool {
		k.all++
		k.v6 += one(e.Family == unix.AF_INET6)
		k.zoned += one(e.Zone != 0)
		k.marked += one(e.Mark != 0)
		k.natted += one(e.Status&StatusSrcNAT != 0)
		k.icmp += one(e.Proto == unix.IPPROTO_ICMP || e.Proto == unix.IPPROTO_ICMPV6)
		k.sctp += one(e.SCTPState != 0)
		k.expected += one(e.Status&StatusExpected != 0)
		return true
	}}
	if err := r.datagram(datagram); err != nil && err != errDone {
		t.Fatal(err)
	}
	return k
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func readRecorded(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
