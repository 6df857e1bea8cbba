package ctnetlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// bodies are those of a datagram's entries.
func bodies(t testing.TB, datagram []byte) (list [][]byte) {
	t.Helper()
	for len(datagram) > 0 {
		_, body, rest, err := cutMessage(datagram)
		if err != nil {
			t.Fatal(err)
		}
		list, datagram = append(list, body), rest
	}
	return list
}

// What is understood, another decoder understands alike; and what follows the
// body in memory makes no difference.
func FuzzParse(f *testing.F) {
	for _, body := range bodies(f, readRecorded(f)) {
		f.Add(body, uint16(100))
	}
	for _, e := range examples() {
		list := attributes(e)
		f.Add(body(e.Family, list...), uint16(40))
		f.Add(body(e.Family, append(list, list[0])...), uint16(0))
		f.Add(body(e.Family, append(list, nested(ctaProtoInfo, nested(ctaProtoInfo, nested(ctaProtoInfo))))...), uint16(9))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		var p, again parser
		err := p.parse(slices.Clip(bytes.Clone(b)))
		in := append(bytes.Clone(b), bytes.Repeat([]byte{8, 0, 3, 0, 0, 0, 0, 1}, 8)...)
		if e := again.parse(in[:len(b)]); fmt.Sprint(e) != fmt.Sprint(err) || err == nil && again.Entry != p.Entry {
			t.Fatalf("%+v, %v, but followed by other bytes %+v, %v", p.Entry, err, again.Entry, e)
		}
		if err != nil {
			return
		}
		if want, e := decoded(b); e != nil || want != p.Entry {
			t.Fatalf("%+v, want %+v, %v", p.Entry, want, e)
		}
		// Once its form is known it says the same, and one like it what it says alone.
		first := p.Entry
		if err := p.parse(b); err != nil || p.Entry != first {
			t.Fatalf("%+v, but then %+v, %v", first, p.Entry, err)
		}
		like := bytes.Clone(b)
		like[int(cut/8)%len(b)] ^= 1 << (cut % 8)
		alone := parser{}
		if err, e := p.parse(like), alone.parse(like); fmt.Sprint(e) != fmt.Sprint(err) || err == nil && alone.Entry != p.Entry {
			t.Fatalf("%+v, %v, but alone %+v, %v", p.Entry, err, alone.Entry, e)
		}
		p.Entry = first
		// Cut short, it has lost nothing of what an entry must have.
		if err := again.parse(b[:min(int(cut), len(b))]); err == nil {
			short := again.Entry
			if short.Orig != p.Orig || short.Reply != p.Reply || short.Status != p.Status || short.ID != p.ID || short.Proto != p.Proto {
				t.Fatalf("%+v, cut to %d bytes %+v", p.Entry, cut, short)
			}
		}
	})
}

// decoded decodes a well-formed body with another library, in the simplest way.
func decoded(b []byte) (e Entry, err error) {
	e.Family = b[0]
	top, err := netlink.NewAttributeDecoder(b[nfgenmsg:])
	if err != nil {
		return e, err
	}
	top.ByteOrder = binary.BigEndian
	timeout := false
	for top.Next() {
		switch top.Type() {
		case ctaTupleOrig:
			top.Nested(func(d *netlink.AttributeDecoder) error { return e.decode(d, &e.Orig) })
		case ctaTupleReply:
			top.Nested(func(d *netlink.AttributeDecoder) error { return e.decode(d, &e.Reply) })
		case ctaStatus:
			e.Status = top.Uint32()
		case ctaTimeout:
			e.Timeout, timeout = top.Uint32(), true
		case ctaMark:
			e.Mark = top.Uint32()
		case ctaUse:
			e.Use = top.Uint32()
		case ctaID:
			e.ID = top.Uint32()
		case ctaZone:
			e.Zone = top.Uint16()
			e.OrigZone, e.ReplyZone = e.Zone, e.Zone
		case ctaProtoInfo:
			top.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case ctaProtoInfoTCP:
						d.Nested(stateIn(&e.TCPState))
					case ctaProtoInfoSCTP:
						d.Nested(stateIn(&e.SCTPState))
					}
				}
				return d.Err()
			})
		}
	}
	e.Offloaded = !timeout || e.Status&StatusOffload != 0
	return e, top.Err()
}

// stateIn decodes the state, which of both protocols is of type 1.
func stateIn(state *uint8) func(*netlink.AttributeDecoder) error {
	return func(d *netlink.AttributeDecoder) error {
		for d.Next() {
			if d.Type() == 1 {
				*state = d.Uint8()
			}
		}
		return d.Err()
	}
}

func (e *Entry) decode(d *netlink.AttributeDecoder, t *Tuple) error {
	for d.Next() {
		switch d.Type() {
		case ctaTupleZone:
			e.Zone = d.Uint16()
			if t == &e.Reply {
				e.ReplyZone = e.Zone
			} else {
				e.OrigZone = e.Zone
			}
		case ctaTupleIP:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch b := d.Bytes(); d.Type() {
					case ctaIPv4Src:
						t.Src = Addr(slices.Concat(make([]byte, 10), []byte{0xff, 0xff}, b))
					case ctaIPv4Dst:
						t.Dst = Addr(slices.Concat(make([]byte, 10), []byte{0xff, 0xff}, b))
					case ctaIPv6Src:
						t.Src = Addr(b)
					case ctaIPv6Dst:
						t.Dst = Addr(b)
					}
				}
				return d.Err()
			})
		case ctaTupleProto:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch d.Type() {
					case ctaProtoNum:
						e.Proto = d.Uint8()
					case ctaProtoSrcPort, ctaProtoICMPID, ctaProtoICMPv6ID:
						t.SrcPort = d.Uint16()
					case ctaProtoDstPort:
						t.DstPort = d.Uint16()
					case ctaProtoICMPType, ctaProtoICMPv6Type:
						t.DstPort += uint16(d.Uint8()) << 8
					case ctaProtoICMPCode, ctaProtoICMPv6Code:
						t.DstPort += uint16(d.Uint8())
					}
				}
				return d.Err()
			})
		}
	}
	return d.Err()
}

// A stream is datagrams one after the other: a byte for what happened, two for
// the size, the bytes.
func streamed(list ...reception) (b []byte) {
	for _, r := range list {
		b = append(b, byte(r.sender))
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.datagram)))
		b = append(b, r.datagram...)
	}
	return b
}

func unstreamed(b []byte) (list []reception) {
	for len(b) >= 3 {
		n := min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
		r := reception{datagram: b[3 : 3+n], sender: uint32(b[0] & 1)}
		if b[0]&2 != 0 {
			r = reception{err: unix.EINTR}
		}
		list, b = append(list, r), b[3+n:]
	}
	return append(list, reception{err: unix.ENOBUFS}) // rather than to wait
}

// Whatever is received: what is handed on is what the kernel's own messages to us
// say, one by one up to the first that is wrong; and only the end of the dump, or
// the caller, ends it without an error.
func FuzzDatagrams(f *testing.F) {
	e := entry(flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443))
	v6 := entry(flow(unix.IPPROTO_ICMPV6, "2001:db8::1", "2001:db8:1::1", 78, 128<<8))
	first := answer(ctNew, 0, bodies(f, readRecorded(f))[0])
	f.Add(streamed(reception{datagram: first}, reception{datagram: done()}), uint8(0))
	f.Add(streamed(reception{datagram: slices.Concat(e, v6)}, reception{datagram: slices.Concat(v6, done())}), uint8(0))
	f.Add(streamed(reception{datagram: e}, reception{datagram: e, sender: 1}, reception{sender: 2}, reception{datagram: done()}), uint8(2))
	f.Add(streamed(reception{datagram: answer(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, slices.Concat(errno(-1), make([]byte, 16), attr(1, []byte("no\x00"))))}), uint8(0))
	f.Add(streamed(reception{datagram: answer(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, errno(0))}), uint8(0))
	f.Add(streamed(reception{datagram: slices.Concat(e[:8], errno(1), e[12:], e, answer(unix.NLMSG_NOOP, 0, nil))}, reception{datagram: done()[:18]}), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, stop uint8) {
		if len(stream) > 2048 {
			return // says nothing that shorter ones don't, and takes minutes to minimize
		}
		list := unstreamed(stream)
		want, ended := expected(list)
		if stop > 0 && len(want) >= int(stop) {
			want, ended = want[:stop], false
		}
		var got []Entry
		c := answered(t, inTurn(list...))
		read, err := c.Walk(t.Context(), Query{}, func(e *Entry) bool {
			got = append(got, *e)
			return len(got) != int(stop)
		}, nil)
		stopped := stop > 0 && len(got) == int(stop)
		if read != len(got) || !slices.Equal(got, want) || (err == nil) != (ended || stopped) {
			t.Fatalf("%d entries, %v, ended %v, stopped %v, want %d", read, err, ended, stopped, len(want))
		}
		if closed := c.fd < 0; closed == ended {
			t.Fatalf("ended %v, closed %v", ended, closed)
		}
		if errors.Is(err, errDone) || errors.Is(err, errStopped) {
			t.Fatalf("an end taken for an error: %v", err)
		}
	})
}

// expected is what the datagrams say, and whether they are a whole dump.
func expected(list []reception) (entries []Entry, ended bool) {
	for _, r := range list {
		switch {
		case errors.Is(r.err, unix.EINTR), r.err == nil && r.sender != 0:
			continue
		case r.err != nil, len(r.datagram) == 0, len(r.datagram) > bufferSize:
			return entries, false
		}
		for b := r.datagram; len(b) > 0; {
			var m netlink.Message
			size := 0
			if len(b) >= unix.SizeofNlMsghdr {
				size = int(binary.NativeEndian.Uint32(b))
			}
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return entries, false
			}
			padded := slices.Concat(b[:size], make([]byte, -size&3))
			binary.NativeEndian.PutUint32(padded, uint32(len(padded)))
			if err := m.UnmarshalBinary(padded); err != nil {
				return entries, false
			}
			m.Data = m.Data[:size-unix.SizeofNlMsghdr]
			b = b[min((size+3)&^3, len(b)):]
			if m.Header.Sequence != sequence || m.Header.PID != port || m.Header.Type == netlink.Noop && m.Header.Flags&netlink.DumpInterrupted == 0 {
				continue
			}
			var p parser
			switch {
			case m.Header.Flags&netlink.DumpInterrupted != 0:
				return entries, false
			case m.Header.Type == netlink.Done:
				return entries, len(b) == 0 && len(m.Data) >= 4 && bytes.Equal(m.Data[:4], make([]byte, 4))
			case m.Header.Type != ctNew, p.parse(m.Data) != nil:
				return entries, false
			}
			entries = append(entries, p.Entry)
		}
	}
	return entries, false
}
