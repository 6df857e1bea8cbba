package ctnetlink

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// examples are entries of every kind, ids apart.
func examples() map[string]Entry {
	tcp := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
	tcp.ID, tcp.Mark, tcp.Use, tcp.TCPState = 0xfedcba98, 0x80000001, 0x01020304, TCPTimeWait
	tcp.Zone, tcp.OrigZone, tcp.ReplyZone = 65535, 65535, 65535
	natted := flow(unix.IPPROTO_UDP, "10.0.0.1", "192.0.2.1", 40001, 53)
	natted.Reply.Dst, natted.Reply.DstPort, natted.Status = Addr{10: 255, 11: 255, 12: 203, 14: 113, 15: 9}, 1024, 0xffffbfff
	offloaded := flow(unix.IPPROTO_TCP, "2001:db8::1", "2001:db8:1::1", 40001, 443)
	offloaded.Status, offloaded.Offloaded, offloaded.Timeout, offloaded.TCPState = StatusOffload, true, 0, 0
	return map[string]Entry{
		"TCP": tcp, "NAT": natted, "offloaded": offloaded,
		"TCP6":   flow(unix.IPPROTO_TCP, "2001:db8::1", "2001:db8:1::1", 40001, 443),
		"ICMP":   flow(unix.IPPROTO_ICMP, "10.0.0.1", "192.0.2.1", 77, 8<<8|3),
		"ICMPv6": flow(unix.IPPROTO_ICMPV6, "2001:db8::1", "2001:db8:1::1", 78, 128<<8|4),
		"SCTP":   flow(unix.IPPROTO_SCTP, "10.0.0.1", "192.0.2.1", 3, 4),
		"ESP":    flow(unix.IPPROTO_ESP, "10.0.0.1", "192.0.2.1", 0, 0),
	}
}

func TestParse(t *testing.T) {
	for name, want := range examples() {
		list := attributes(want)
		unknown := slices.Concat(attr(0, u8(1)), attr(9, u32(1)), attr(9), attr(32+ctaStatus), attr(32+ctaID, u8(1)), attr(typeMask, u16(1)))
		reversed := slices.Clone(list)
		slices.Reverse(reversed)
		for how, b := range map[string][]byte{
			"as the kernel":         body(want.Family, list...),
			"with unknown ones":     body(want.Family, append(list, unknown)...),
			"the other way round":   body(want.Family, reversed...),
			"with nothing to pad":   unpadded(want.Family, list),
			"flagged as big endian": body(want.Family, flagged(list)...),
			"with unknown in nests": body(want.Family, crowded(want)...),
		} {
			p := parser{Entry: Entry{Use: 1, Zone: 1, OrigZone: 1, ReplyZone: 1, Mark: 1, TCPState: 1, SCTPState: 1, Offloaded: true, Orig: Tuple{SrcPort: 1, DstPort: 1}}, zoned: true, tcp: true, sctp: true}
			if err := p.parse(b); err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
			} else if diff := cmp.Diff(want, p.Entry); diff != "" {
				t.Errorf("%s, %s: -want +got:\n%s", name, how, diff)
			}
		}
	}
}

// unpadded ends with a CTA_ZONE (0) whose padding is missing.
func unpadded(family uint8, list [][]byte) []byte {
	if slices.ContainsFunc(list, func(a []byte) bool { return a[2] == ctaZone }) {
		return body(family, list...)
	}
	return body(family, append(list, attr(ctaZone, u16(0))[:attributeHeader+2])...)
}

// crowded has an attribute that nobody knows at the end of each nest, and tuples
// the other way round.
func crowded(e Entry) [][]byte {
	unknown := attr(31, u32(1))
	crowd := func(t Tuple) (out []byte) {
		for _, n := range tuple(e, t) {
			out = slices.Concat(nested(uint16(n[2]), n[attributeHeader:], unknown), out)
		}
		return append(out, unknown...)
	}
	list := slices.Concat([][]byte{nested(ctaTupleOrig, crowd(e.Orig)), nested(ctaTupleReply, crowd(e.Reply))}, attributes(e)[2:])
	for i, a := range list {
		switch {
		case a[2] == ctaProtoInfo && e.Proto == unix.IPPROTO_TCP:
			list[i] = nested(ctaProtoInfo, nested(ctaProtoInfoTCP, unknown, attr(ctaTCPState, u8(e.TCPState)), unknown), unknown)
		case a[2] == ctaProtoInfo:
			list[i] = nested(ctaProtoInfo, nested(ctaProtoInfoSCTP, unknown, attr(ctaSCTPState, u8(e.SCTPState)), unknown), unknown)
		}
	}
	return list
}

// flagged sets NLA_F_NET_BYTEORDER, as the kernel's older versions do not but its
// documentation says.
func flagged(list [][]byte) (out [][]byte) {
	for _, a := range list {
		a = slices.Clone(a)
		a[3] |= unix.NLA_F_NET_BYTEORDER >> 8
		out = append(out, a)
	}
	return out
}

// What the kernel leaves out is zero, and an entry without timeout is offloaded
// even if its status was read too early to say so.
func TestParseOmitted(t *testing.T) {
	e := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
	list := attributes(e)
	want := Entry{Orig: e.Orig, Reply: e.Reply, Status: StatusConfirmed, Family: unix.AF_INET, Proto: unix.IPPROTO_TCP, Offloaded: true}
	var p parser
	if err := p.parse(body(unix.AF_INET, list[0], list[1], list[2], attr(ctaID, u32(0)))); err != nil || p.Entry != want {
		t.Errorf("%+v, %v, want %+v", p.Entry, err, want)
	}
	want.Status, want.Timeout = StatusOffload, 7
	if err := p.parse(body(unix.AF_INET, list[0], list[1], attr(ctaStatus, u32(StatusOffload)), attr(ctaID, u32(0)), attr(ctaTimeout, u32(7)))); err != nil || p.Entry != want {
		t.Errorf("%+v, %v, want %+v", p.Entry, err, want)
	}
	want.Offloaded, want.Status, want.Timeout = false, StatusConfirmed, 5
	for _, info := range [][]byte{nil, nested(ctaProtoInfo), nested(ctaProtoInfo, nested(ctaProtoInfoTCP)), nested(ctaProtoInfo, nested(2, attr(1, u8(4))))} {
		if err := p.parse(body(unix.AF_INET, list[0], list[1], list[2], attr(ctaID, u32(0)), attr(ctaTimeout, u32(5)), info)); err != nil || p.Entry != want {
			t.Errorf("%+v, %v, want %+v", p.Entry, err, want)
		}
	}
}

// The zone is in one of three places.
func TestParseZone(t *testing.T) {
	e := flow(unix.IPPROTO_UDP, "10.0.0.1", "192.0.2.1", 40001, 53)
	zone := attr(ctaTupleZone, u16(9))
	orig, reply := tuple(e, e.Orig), tuple(e, e.Reply)
	rest := slices.Concat(attributes(e)[2:]...)
	for name, test := range map[string]struct {
		body        []byte
		orig, reply uint16
		want        string
	}{
		"of the original": {body(unix.AF_INET, nested(ctaTupleOrig, append(orig, zone)...), nested(ctaTupleReply, reply...), rest), 9, 0, ""},
		"of the reply":    {body(unix.AF_INET, nested(ctaTupleOrig, orig...), nested(ctaTupleReply, append(reply, zone)...), rest), 0, 9, ""},
		"of both":         {body(unix.AF_INET, nested(ctaTupleOrig, orig...), nested(ctaTupleReply, reply...), rest, attr(ctaZone, u16(9))), 9, 9, ""},
		"twice": {
			body(unix.AF_INET, nested(ctaTupleOrig, append(orig, zone)...), nested(ctaTupleReply, append(reply, zone)...), rest), 9, 0,
			"CTA_TUPLE_REPLY: CTA_TUPLE_ZONE: a zone was already given",
		},
	} {
		var p parser
		err := p.parse(test.body)
		if test.want == "" && (err != nil || p.Zone != 9 || p.OrigZone != test.orig || p.ReplyZone != test.reply) || test.want != "" && (err == nil || err.Error() != test.want) {
			t.Errorf("%s: zone %d, the original's %d, the reply's %d, %v, want %q", name, p.Zone, p.OrigZone, p.ReplyZone, err, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	e := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
	icmp := flow(unix.IPPROTO_ICMP, "10.0.0.1", "192.0.2.1", 77, 8<<8)
	v6 := flow(unix.IPPROTO_TCP, "2001:db8::1", "2001:db8:1::1", 40001, 443)
	orig, reply := nested(ctaTupleOrig, tuple(e, e.Orig)...), nested(ctaTupleReply, tuple(e, e.Reply)...)
	ip, proto := tuple(e, e.Orig)[0], tuple(e, e.Orig)[1]
	status, id, state := attr(ctaStatus, u32(8)), attr(ctaID, u32(1)), nested(ctaProtoInfo, nested(ctaProtoInfoTCP, attr(ctaTCPState, u8(1))))
	sctp := nested(ctaProtoInfo, nested(ctaProtoInfoSCTP, attr(ctaSCTPState, u8(1))))
	v4 := func(attributes ...[]byte) []byte { return body(unix.AF_INET, attributes...) }
	with := func(tuples ...[]byte) []byte { return v4(nested(ctaTupleOrig, tuples...), reply, status, id) }
	withIP := func(attributes ...[]byte) []byte { return with(nested(ctaTupleIP, attributes...), proto) }
	withProto := func(attributes ...[]byte) []byte { return with(ip, nested(ctaTupleProto, attributes...)) }
	a4, b4 := attr(ctaIPv4Src, make([]byte, 4)), attr(ctaIPv4Dst, make([]byte, 4))
	num, src, dst := attr(ctaProtoNum, u8(6)), attr(ctaProtoSrcPort, u16(1)), attr(ctaProtoDstPort, u16(2))
	for _, test := range []struct {
		body []byte
		want string
	}{
		{nil, "0 bytes are too short for struct nfgenmsg"},
		{[]byte{unix.AF_INET, 0, 0}, "3 bytes are too short for struct nfgenmsg"},
		{body(0, orig, reply, status, id), "address family 0"},
		{body(unix.AF_BRIDGE, orig, reply, status, id), "address family 7"},
		{v4(), "no CTA_TUPLE_ORIG"},
		{v4(reply, status, id), "no CTA_TUPLE_ORIG"},
		{v4(orig, status, id), "no CTA_TUPLE_REPLY"},
		{v4(orig, reply, id), "no CTA_STATUS"},
		{v4(orig, reply, status), "no CTA_ID"},
		{v4(orig, orig, reply, status, id), "CTA_TUPLE_ORIG: there twice"},
		{v4(orig, reply, status, id, status), "CTA_STATUS: there twice"},
		{v4(orig, reply, status, id, []byte{0}), "1 stray bytes after the last attribute"},
		{v4(orig, reply, status, id, []byte{0, 0, 0}), "3 stray bytes after the last attribute"},
		{v4(orig, reply, status, id, []byte{3, 0, 7, 0}), "an attribute of 3 bytes where 4 are left"},
		{v4(orig, reply, status, id, []byte{0, 0, 99, 0}), "an attribute of 0 bytes where 4 are left"},
		{v4(orig, reply, status, id, []byte{5, 0, 99, 0}), "an attribute of 5 bytes where 4 are left"},
		{v4(orig, reply, status, id, []byte{255, 255, 7, 0, 1, 2, 3, 4}), "an attribute of 65535 bytes where 8 are left"},
		{v4(orig, reply, attr(ctaStatus, u8(8)), id), "CTA_STATUS: 1 bytes instead of 4"},
		{v4(orig, reply, attr(ctaStatus, u32(8), u32(8)), id), "CTA_STATUS: 8 bytes instead of 4"},
		{v4(orig, reply, status, id, attr(ctaTimeout)), "CTA_TIMEOUT: 0 bytes instead of 4"},
		{v4(orig, reply, status, id, attr(ctaMark, u16(1))), "CTA_MARK: 2 bytes instead of 4"},
		{v4(orig, reply, status, attr(ctaID, u16(1))), "CTA_ID: 2 bytes instead of 4"},
		{v4(orig, reply, status, id, attr(ctaZone, u32(1))), "CTA_ZONE: 4 bytes instead of 2"},
		{v4(orig, nested(ctaTupleReply, tuple(icmp, icmp.Reply)...), status, id), "protocol 6 with a reply of protocol 1"},
		{v4(nested(ctaTupleOrig, tuple(icmp, icmp.Orig)...), nested(ctaTupleReply, tuple(icmp, icmp.Reply)...), status, id, state), "protocol 1 with a TCP state"},
		{v4(orig, reply, status, id, state, state), "CTA_PROTOINFO: there twice"},
		{v4(orig, reply, status, id, nested(ctaProtoInfo, u16(1))), "CTA_PROTOINFO: 2 stray bytes after the last attribute"},
		{v4(orig, reply, status, id, nested(ctaProtoInfo, nested(ctaProtoInfoTCP, attr(ctaTCPState, u32(1))))), "CTA_PROTOINFO: CTA_PROTOINFO_TCP: CTA_PROTOINFO_TCP_STATE: 4 bytes instead of 1"},
		{v4(orig, reply, status, id, nested(ctaProtoInfo, attr(ctaProtoInfoTCP, []byte{9, 0, 1, 0}))), "CTA_PROTOINFO: CTA_PROTOINFO_TCP: an attribute of 9 bytes where 4 are left"},
		{v4(orig, reply, status, id, sctp), "protocol 6 with an SCTP state"},
		{v4(orig, reply, status, id, nested(ctaProtoInfo, nested(ctaProtoInfoSCTP, attr(ctaSCTPState, u16(1))))), "CTA_PROTOINFO: CTA_PROTOINFO_SCTP: CTA_PROTOINFO_SCTP_STATE: 2 bytes instead of 1"},
		{v4(orig, reply, status, id, nested(ctaProtoInfo, nested(ctaProtoInfoSCTP, attr(ctaSCTPState, u8(1)), attr(ctaSCTPState, u8(1))))), "CTA_PROTOINFO: CTA_PROTOINFO_SCTP: CTA_PROTOINFO_SCTP_STATE: there twice"},
		{v4(orig, reply, status, id, nested(ctaProtoInfo, attr(ctaProtoInfoSCTP, []byte{9, 0, 1, 0}))), "CTA_PROTOINFO: CTA_PROTOINFO_SCTP: an attribute of 9 bytes where 4 are left"},
		{v4(orig, nested(ctaTupleReply), status, id), "CTA_TUPLE_REPLY: no CTA_TUPLE_IP"},
		{with(ip), "CTA_TUPLE_ORIG: no CTA_TUPLE_PROTO"},
		{with(proto), "CTA_TUPLE_ORIG: no CTA_TUPLE_IP"},
		{with(ip, ip, proto), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: there twice"},
		{with(ip, proto, attr(ctaTupleZone, u8(1))), "CTA_TUPLE_ORIG: CTA_TUPLE_ZONE: 1 bytes instead of 2"},
		{withIP(a4), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: no CTA_IP_V4_DST"},
		{withIP(b4), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: no CTA_IP_V4_SRC"},
		{withIP(a4, a4, b4), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: CTA_IP_V4_SRC: there twice"},
		{withIP(attr(ctaIPv4Src, make([]byte, 16)), b4), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: CTA_IP_V4_SRC: 16 bytes instead of 4"},
		{withIP(a4, b4, attr(ctaIPv6Src, make([]byte, 16))), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: an address of another family than 2"},
		{withIP(attr(ctaIPv6Src, make([]byte, 4)), b4), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: CTA_IP_V6_SRC: 4 bytes instead of 16"},
		{with(tuple(v6, v6.Orig)...), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: an address of another family than 2"},
		{body(unix.AF_INET6, orig, reply, status, id), "CTA_TUPLE_ORIG: CTA_TUPLE_IP: an address of another family than 10"},
		{withProto(), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: no CTA_PROTO_NUM"},
		{withProto(src, dst), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: no CTA_PROTO_NUM"},
		{withProto(num), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: no CTA_PROTO_SRC_PORT"},
		{withProto(num, src), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: no CTA_PROTO_DST_PORT"},
		{withProto(num, num, src, dst), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: CTA_PROTO_NUM: there twice"},
		{withProto(num, src, dst, attr(ctaProtoICMPID, u16(1))), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: protocol 6 with another protocol's attributes"},
		{withProto(attr(ctaProtoNum, u8(1)), src, dst), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: protocol 1 with another protocol's attributes"},
		{withProto(attr(ctaProtoNum, u8(58)), attr(ctaProtoICMPID, u16(1))), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: protocol 58 with another protocol's attributes"},
		{withProto(attr(ctaProtoNum, u8(1)), attr(ctaProtoICMPID, u16(1)), attr(ctaProtoICMPType, u8(1))), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: no CTA_PROTO_ICMP_CODE"},
		{withProto(attr(ctaProtoNum, u8(47)), src), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: no CTA_PROTO_DST_PORT"},
		{withProto(attr(ctaProtoNum, u32(6)), src, dst), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: CTA_PROTO_NUM: 4 bytes instead of 1"},
		{withProto(num, attr(ctaProtoSrcPort, u32(6)), dst), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: CTA_PROTO_SRC_PORT: 4 bytes instead of 2"},
		{withProto(num, src, attr(ctaProtoDstPort, u8(6))), "CTA_TUPLE_ORIG: CTA_TUPLE_PROTO: CTA_PROTO_DST_PORT: 1 bytes instead of 2"},
	} {
		var p parser
		if err := p.parse(test.body); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

// A body cut anywhere is refused, but just before what may be missing.
func TestParseCutShort(t *testing.T) {
	for name, e := range examples() {
		list := attributes(e)
		whole := body(e.Family, list...)
		legal, end := map[int]bool{}, nfgenmsg
		for _, a := range list {
			end += len(a)
			legal[end] = a[2] == ctaID || a[2] == ctaUse || a[2] == ctaTimeout
		}
		for n := range whole {
			var p parser
			if err := p.parse(whole[:n:n]); (err == nil) != legal[n] {
				t.Errorf("%s: cut to %d bytes of %d: %+v, %v", name, n, len(whole), p.Entry, err)
			}
		}
	}
}
