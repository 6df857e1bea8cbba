package ctnetlink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A parser that knows the form of a body understands what another in one bit says
// as a parser does that knows nothing, and refuses what that refuses.
func TestFormAgrees(t *testing.T) {
	for name, e := range examples() {
		list := attributes(e)
		noPorts := slices.Concat(list[:1], [][]byte{nested(ctaTupleReply, tuple(e, e.Reply)[0], nested(ctaTupleProto, attr(ctaProtoNum, u8(e.Proto))))}, list[2:])
		tupleZone := slices.Concat([][]byte{nested(ctaTupleOrig, append(tuple(e, e.Orig), attr(ctaTupleZone, u16(0)))...)}, list[1:])
		for how, body := range map[string][]byte{
			"as the kernel":             body(e.Family, list...),
			"with unknown in nests":     body(e.Family, crowded(e)...),
			"with nothing to pad":       unpadded(e.Family, list),
			"with ports one way":        body(e.Family, noPorts...),
			"with zone 0 one way":       body(e.Family, tupleZone...),
			"with a message's worth":    body(e.Family, append(list, attr(31, make([]byte, formSize)))...),
			"with a host of attributes": body(e.Family, append(list, bytes.Repeat(attr(31), formHeaders))...),
		} {
			taken := 0
			var knows parser
			refused := knows.parse(body) != nil
			form := *knows.form(body)
			for bit := range 8 * len(body) {
				b := bytes.Clone(body)
				b[bit/8] ^= 1 << (bit % 8)
				*knows.form(body) = form
				if len(b) >= nfgenmsg && knows.form(b).fits(b) {
					taken++
				}
				var alone parser
				want := alone.parse(b)
				if err := knows.parse(b); fmt.Sprint(err) != fmt.Sprint(want) || err == nil && knows.Entry != alone.Entry {
					t.Fatalf("%s, %s, bit %d: %+v, %v, want %+v, %v", name, how, bit, knows.Entry, err, alone.Entry, want)
				}
			}
			if can := !refused && formOf(e, how); can && taken < 8*len(body)/4 || !can && taken > 0 {
				t.Errorf("%s, %s: of %d neighbours %d are of its form", name, how, 8*len(body), taken)
			}
		}
	}
}

// formOf is whether an example has a form at all.
func formOf(e Entry, how string) bool {
	ports := e.Proto != unix.IPPROTO_ICMP && e.Proto != unix.IPPROTO_ICMPV6 && e.Proto != unix.IPPROTO_ESP
	return ports && how != "with ports one way" && how != "with zone 0 one way" && how != "with a message's worth" && how != "with a host of attributes"
}

// Nearly all of what the kernel sends is read by its form.
func TestFormsOfRecorded(t *testing.T) {
	var p parser
	known, all := 0, bodies(t, readRecorded(t))
	for _, b := range all {
		if p.form(b).fits(b) {
			known++
		}
		if err := p.parse(b); err != nil {
			t.Fatal(err)
		}
	}
	if known < len(all)*8/10 {
		t.Errorf("the forms of %d of %d are known", known, len(all))
	}
}

// Of a new kind there is no form left from before.
func TestFormIsReplaced(t *testing.T) {
	udp, gre := flow(unix.IPPROTO_UDP, "10.0.0.1", "192.0.2.1", 1, 2), flow(unix.IPPROTO_GRE, "10.0.0.1", "192.0.2.1", 3, 4)
	var p parser
	for i, e := range []Entry{udp, gre, udp, udp, gre} {
		b := body(e.Family, attributes(e)...)
		if known := p.form(b).fits(b); known != (i == 3) {
			t.Errorf("entry %d: known %v", i, known)
		}
		if err := p.parse(b); err != nil || p.Entry != e {
			t.Errorf("entry %d: %+v, %v, want %+v", i, p.Entry, err, e)
		}
	}
	// Its size changes with nothing else.
	b := body(udp.Family, attributes(udp)...)
	binary.NativeEndian.PutUint16(b[nfgenmsg:], 3)
	if err := p.parse(b); err == nil {
		t.Errorf("a tuple of 3 bytes is %+v", p.Entry)
	}
}
