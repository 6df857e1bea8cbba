package ctnetlink

import (
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// What is queued names the entry whole and asks for the flag in both directions, and for
// nothing else; what is not whole, or not of TCP, is refused.
func TestLoosenQueues(t *testing.T) {
	of := examples()
	b := &Batch{fd: -1, part: 2}
	var want []told
	for _, name := range []string{"TCP", "TCP6", "offloaded"} {
		e := of[name]
		e.ID, e.Zone, e.OrigZone, e.ReplyZone = 77, uint16(len(want)), uint16(len(want)), uint16(len(want))
		queue(t, b.Loosen(&e))
		d := expect(e, ctNew, ctaID)
		d.entry.ID = e.ID
		d.attributes = append(d.attributes, ctaProtoInfo)
		want = append(want, d)
	}
	if diff := cmp.Diff(want, queued(t, b), cmp.AllowUnexported(told{})); diff != "" || b.Len() != len(want) {
		t.Errorf("%d queued, -want +got:\n%s", b.Len(), diff)
	}
	flags := []byte{0x08, 0x08, 0, 0}
	tcp := nested(ctaProtoInfo, nested(ctaProtoInfoTCP, attr(4, flags[:2]), attr(5, flags[:2])))
	if _, err := netlink.UnmarshalAttributes(liberal); err != nil || string(liberal) != string(tcp) {
		t.Errorf("%x, %v, want %x", liberal, err, tcp)
	}

	before := b.Len()
	spoilt := of["TCP"]
	spoilt.Orig = Tuple{}
	datagrams := of["NAT"]
	if err := errors.Join(b.Loosen(&spoilt), b.Loosen(&datagrams), b.Loosen(&Entry{})); err == nil || b.Len() != before {
		t.Errorf("%v, %d queued", err, b.Len()-before)
	}
	for _, e := range []Entry{spoilt, datagrams, {}} {
		if b.Loosen(&e) == nil {
			t.Errorf("%+v is not refused", e)
		}
	}
}

// Every TCP entry can be loosened, and nothing else of it changes, nor of any other. To
// do so again changes nothing, and no entry is made.
func TestRootLoosen(t *testing.T) {
	inside(t, func() {
		mixed(t)
		zone := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
		zone.Zone = 1000
		create(t, zone.Family, attributes(zone)...)
		fill(t, 40)
		c, b := open(t), openBatch(t)
		before := collect(t, c, Query{})
		loose := map[uint32]bool{}
		for _, e := range sorted(before) {
			if e.Proto != unix.IPPROTO_TCP {
				continue
			}
			for range 2 {
				queue(t, b.Loosen(&e))
				send(t, b, Sent{Retimed: 1})
			}
			loose[e.ID] = true
			if got := looseEntries(t); !maps.Equal(got, loose) {
				t.Fatalf("%+v: loose are %v, want %v", e, got, loose)
			}
		}
		if after := collect(t, c, Query{}); !maps.EqualFunc(after, before, sameButTime) {
			t.Error("more than the flags changed")
		}
		if len(loose) < 24 {
			t.Errorf("%d TCP entries say too little", len(loose))
		}
		gone := sorted(before)[0]
		gone.Proto, gone.Family, gone.Orig = unix.IPPROTO_TCP, zone.Family, flow(unix.IPPROTO_TCP, "10.9.9.9", "192.0.2.1", 9, 9).Orig
		gone.Zone, gone.OrigZone, gone.ReplyZone = 0, 0, 0
		queue(t, b.Loosen(&gone))
		send(t, b, Sent{Gone: 1})
		if n := len(collect(t, c, Query{})); n != len(before) {
			t.Errorf("%d entries, there were %d", n, len(before))
		}
	})
}

// looseEntries are the ids of those whose window is not checked in either direction,
// as another reader has it. One in one direction alone fails.
func looseEntries(t *testing.T) map[uint32]bool {
	t.Helper()
	c, err := conntrack.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flows, err := c.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	loose := map[uint32]bool{}
	for _, f := range flows {
		tcp := f.ProtoInfo.TCP
		if tcp == nil {
			continue
		}
		there, back := tcp.OriginalFlags, tcp.ReplyFlags
		if there != back {
			t.Fatalf("%v: flags %#x and %#x", f.TupleOrig, there, back)
		}
		if there != 0 {
			loose[f.ID] = true
		}
	}
	return loose
}
