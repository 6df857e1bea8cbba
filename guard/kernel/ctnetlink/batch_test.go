package ctnetlink

import (
	"encoding/binary"
	"errors"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// told is what a message asks for, as another decoder understands it.
type told struct {
	typ, flags uint16
	entry      Entry // Orig, Family, Proto, ID, Timeout, and the zones
	attributes []uint16
	tuple      []uint16 // the attributes in CTA_TUPLE_ORIG
	addresses  []uint16
	proto      []uint16
}

// queued decodes what a batch would send.
func queued(t rapid.TB, b *Batch) (list []told) {
	t.Helper()
	for rest := b.queue; len(rest) > 0; {
		size := binary.NativeEndian.Uint32(rest)
		var m netlink.Message
		if err := m.UnmarshalBinary(rest[:size]); err != nil {
			t.Fatal(err)
		}
		rest = rest[size:]
		if m.Header.Type != unix.NLMSG_NOOP {
			list = append(list, tell(t, m))
		}
	}
	return list
}

func tell(t rapid.TB, m netlink.Message) (d told) {
	t.Helper()
	d.typ, d.flags, d.entry.Family = uint16(m.Header.Type), uint16(m.Header.Flags), m.Data[0]
	a, err := netlink.NewAttributeDecoder(m.Data[nfgenmsg:])
	if err != nil {
		t.Fatal(err)
	}
	a.ByteOrder = binary.BigEndian
	for a.Next() {
		d.attributes = append(d.attributes, a.Type())
		switch a.Type() {
		case ctaTupleOrig:
			a.Nested(func(a *netlink.AttributeDecoder) error { return d.entry.decode(a, &d.entry.Orig) })
			list, err := netlink.UnmarshalAttributes(a.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			d.tuple = types(list)
			for _, n := range list {
				inner, err := netlink.UnmarshalAttributes(n.Data)
				switch {
				case n.Type&typeMask == ctaTupleIP && err == nil:
					d.addresses = types(inner)
				case n.Type&typeMask == ctaTupleProto && err == nil:
					d.proto = types(inner)
				}
			}
		case ctaID:
			d.entry.ID = a.Uint32()
		case ctaTimeout:
			d.entry.Timeout = a.Uint32()
		case ctaZone:
			d.entry.Zone = a.Uint16()
			d.entry.OrigZone, d.entry.ReplyZone = d.entry.Zone, d.entry.Zone
		}
	}
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	return d
}

func types(list []netlink.Attribute) (of []uint16) {
	for _, a := range list {
		of = append(of, a.Type&typeMask)
	}
	return of
}

// expect is what shall be told of an entry: all that names it, and nothing else.
func expect(e Entry, typ, last uint16) told {
	d := told{
		typ: typ, flags: unix.NLM_F_REQUEST, entry: Entry{Orig: e.Orig, Family: e.Family, Proto: e.Proto},
		attributes: []uint16{ctaTupleOrig, last}, tuple: []uint16{ctaTupleIP, ctaTupleProto},
		addresses: []uint16{ctaIPv6Src, ctaIPv6Dst}, proto: []uint16{ctaProtoNum},
	}
	if e.Family == unix.AF_INET {
		d.addresses = []uint16{ctaIPv4Src, ctaIPv4Dst}
	}
	switch {
	case e.Proto == unix.IPPROTO_ICMP:
		d.proto = append(d.proto, ctaProtoICMPID, ctaProtoICMPType, ctaProtoICMPCode)
	case e.Proto == unix.IPPROTO_ICMPV6:
		d.proto = append(d.proto, ctaProtoICMPv6ID, ctaProtoICMPv6Type, ctaProtoICMPv6Code)
	case slices.Contains([]uint8{6, 17, 33, 47, 132, 136}, e.Proto), e.Orig.SrcPort != 0, e.Orig.DstPort != 0:
		d.proto = append(d.proto, ctaProtoSrcPort, ctaProtoDstPort)
	}
	switch {
	case e.OrigZone == 0:
	case e.ReplyZone == 0:
		d.entry.Zone, d.entry.OrigZone = e.Zone, e.Zone
		d.tuple = append(d.tuple, ctaTupleZone)
	default:
		d.entry.Zone, d.entry.OrigZone, d.entry.ReplyZone = e.Zone, e.Zone, e.Zone
		d.attributes = append(d.attributes, ctaZone)
	}
	return d
}

// drawEntry draws whatever an Entry can hold; most are near to what a kernel dumps.
func drawEntry(t *rapid.T) (e Entry) {
	zone := rapid.SampledFrom([]uint16{0, 0, 1, 9, 65535})
	e = Entry{
		Orig: drawTuple(t), Reply: drawTuple(t),
		ID: rapid.Custom(func(t *rapid.T) uint32 {
			return rapid.Uint32().Draw(t, "any") * uint32(min(1, rapid.IntRange(0, 5).Draw(t, "id")))
		}).Draw(t, "id"),
		Status: rapid.Uint32().Draw(t, "status"), Mark: rapid.Uint32().Draw(t, "mark"), Timeout: rapid.Uint32().Draw(t, "timeout"),
		Family:   rapid.SampledFrom([]uint8{0, unix.AF_INET, unix.AF_INET, unix.AF_INET6, unix.AF_INET6, unix.AF_BRIDGE}).Draw(t, "family"),
		Proto:    rapid.OneOf(rapid.Uint8(), rapid.SampledFrom([]uint8{0, 1, 6, 17, 33, 47, 50, 58, 132, 136})).Draw(t, "protocol"),
		TCPState: rapid.Uint8().Draw(t, "state"), Offloaded: rapid.Bool().Draw(t, "offloaded"),
		Zone: zone.Draw(t, "zone"), OrigZone: zone.Draw(t, "zone of the original"), ReplyZone: zone.Draw(t, "zone of the reply"),
	}
	if rapid.IntRange(0, 3).Draw(t, "family agrees") > 0 {
		e.Family = unix.AF_INET6
		if e.Orig.Src.Netip().Is4() && e.Orig.Dst.Netip().Is4() {
			e.Family = unix.AF_INET
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "zones agree") > 0 {
		e.OrigZone = e.Zone * uint16(rapid.IntRange(0, 1).Draw(t, "original"))
		e.ReplyZone = e.Zone * uint16(rapid.IntRange(0, 1).Draw(t, "reply"))
	}
	return e
}

func drawTuple(t *rapid.T) (tuple Tuple) {
	for _, a := range []*Addr{&tuple.Src, &tuple.Dst} {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		switch rapid.IntRange(0, 5).Draw(t, "kind of address") {
		case 0: // anything
			copy(a[:], b)
		case 1: // nothing
		default:
			*a = Addr{10: 0xff, 11: 0xff, 12: b[12], b[13], b[14], b[15]}
		}
	}
	port := rapid.OneOf(rapid.Just(uint16(0)), rapid.Uint16())
	tuple.SrcPort, tuple.DstPort = port.Draw(t, "source port"), port.Draw(t, "destination port")
	return tuple
}

// whole reports whether an entry says all that names one.
func whole(e Entry) bool {
	v4 := func(a Addr) bool { return a.Netip().Is4() }
	none := func(a Addr) bool { return a.Netip().IsUnspecified() }
	switch {
	case e.Family == unix.AF_INET && !(v4(e.Orig.Src) && v4(e.Orig.Dst)),
		e.Family != unix.AF_INET && e.Family != unix.AF_INET6,
		none(e.Orig.Src) && none(e.Orig.Dst),
		e.Proto == 0,
		(e.Proto == 6 || e.Proto == 17) && e.Orig.SrcPort == 0 && e.Orig.DstPort == 0:
		return false
	}
	zones := [3]uint16{e.Zone, e.OrigZone, e.ReplyZone}
	z := e.Zone
	return slices.Contains([][3]uint16{{}, {z, z, z}, {z, z, 0}, {z, 0, z}}, zones)
}

// Whatever an Entry holds: a delete has the tuple, the zone and the id of the entry,
// whole, or there is none. Nothing else of it is asked to be changed.
func TestBatchQueues(t *testing.T) {
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		b := &Batch{fd: -1, part: rapid.IntRange(1, 5).Draw(t, "part")}
		var want []told
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			e := drawEntry(t)
			before := slices.Clone(b.queue)
			var err error
			ok := whole(e)
			if rapid.Bool().Draw(t, "delete") {
				d := expect(e, ctDelete, ctaID)
				d.entry.ID = e.ID
				ok = ok && e.ID != 0
				if err = b.Delete(&e); err == nil {
					want = append(want, d)
				}
			} else {
				d := expect(e, ctNew, ctaTimeout)
				d.entry.Timeout = rapid.Uint32().Draw(t, "seconds")
				if err = b.Retime(&e, d.entry.Timeout); err == nil {
					want = append(want, d)
				}
			}
			if (err == nil) != ok {
				t.Fatalf("%+v: %v", e, err)
			}
			if err != nil && !slices.Equal(before, b.queue) {
				t.Fatalf("%+v: refused, but %x became %x", e, before, b.queue)
			}
			taken, refused = taken+one(err == nil), refused+one(err != nil)
		}
		if diff := cmp.Diff(want, queued(t, b), cmp.AllowUnexported(told{})); diff != "" || b.Len() != len(want) {
			t.Fatalf("%d queued, want %d, -want +got:\n%s", b.Len(), len(want), diff)
		}
	})
	if taken < 50 || refused < 50 {
		t.Errorf("%d taken and %d refused say too little", taken, refused)
	}
}

// Small buffers make small parts, but of one message at least.
func TestPartOf(t *testing.T) {
	for buffers, want := range map[[2]int]int{
		{425984, 212992}: partSize, {1 << 30, 1 << 30}: partSize, {64 << 10, 212992}: 32, {425984, 16 << 10}: 64, {0, 0}: 1,
	} {
		if got := partOf(buffers[0], buffers[1]); got != want {
			t.Errorf("%v: %d, want %d", buffers, got, want)
		}
	}
}

// The zero Entry is nobody's.
func TestBatchRefusesZero(t *testing.T) {
	b := &Batch{fd: -1, part: partSize}
	if err := errors.Join(b.Delete(&Entry{}), b.Retime(&Entry{}, 1)); err == nil || len(b.queue) != 0 || b.Len() != 0 {
		t.Errorf("%v, %x queued", err, b.queue)
	}
	whole := examples()["TCP"]
	whole.ID = 0
	if err := b.Delete(&whole); err == nil || len(b.queue) != 0 {
		t.Errorf("without an id: %v, %x queued", err, b.queue)
	}
}

// Whatever the bytes of a message: what is made a delete has a tuple and an id, or a
// filter, for another decoder too.
func TestMakeDelete(t *testing.T) {
	u := unreplied{netip.PrefixFrom(examples()["TCP"].Orig.Src.Netip(), 32)}
	attributes, err := u.attributes()
	if err != nil {
		t.Fatal(err)
	}
	var starts [][]byte
	for _, e := range examples() {
		s, err := shapeOf(&e)
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, s.put(nil, &e, ctaID, 5))
	}
	slices.SortFunc(starts, slices.Compare)
	starts = append(starts, message(unix.AF_INET, attributes))
	made := 0
	rapid.Check(t, func(t *rapid.T) {
		m := slices.Clone(rapid.SampledFrom(starts).Draw(t, "message"))
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			m[rapid.IntRange(0, len(m)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		m = m[:rapid.SampledFrom([]int{len(m), len(m), len(m), len(m) - 4, len(m) / 8 * 4, 16, 20, 3, 0}).Draw(t, "size")]
		before := slices.Clone(m)
		if makeDelete(m) != nil {
			if !slices.Equal(m, before) {
				t.Fatalf("refused, but %x became %x", before, m)
			}
			return
		}
		made++
		top, err := netlink.UnmarshalAttributes(m[unix.SizeofNlMsghdr+nfgenmsg:])
		if len(top) == 0 && err != nil {
			top = firstTwo(t, m)
		}
		of := map[uint16][]byte{}
		for _, a := range top {
			of[a.Type&typeMask] = a.Data
		}
		if _, ok := of[ctaTupleOrig]; !ok || of[ctaID] == nil && of[ctaFilter] == nil {
			t.Fatalf("a delete with %v: %x", slices.Collect(maps.Keys(of)), m)
		}
	})
	if made < 10 {
		t.Errorf("%d were made", made)
	}
}

// firstTwo are the attributes that a kernel still reads if a later one is malformed.
func firstTwo(t rapid.TB, m []byte) (list []netlink.Attribute) {
	b := m[unix.SizeofNlMsghdr+nfgenmsg:]
	for range 2 {
		size := (int(binary.NativeEndian.Uint16(b)) + 3) &^ 3
		a, err := netlink.UnmarshalAttributes(b[:size])
		if err != nil {
			t.Fatal(err)
		}
		list, b = append(list, a...), b[size:]
	}
	return list
}

// The type of a delete is written in one place: elsewhere it is only compared with.
func TestDeleteIsMadeInOnePlace(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	var uses []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := goparser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok {
				uses = append(uses, usesIn(f)...)
			}
		}
	}
	if want := []string{"makeDelete"}; !slices.Equal(uses, want) {
		t.Errorf("deletes are made in %v, want %v", uses, want)
	}
}

// usesIn names the function for each time that it has a delete's type, by name or by
// number, but in a case of a switch: that is a comparison.
func usesIn(f *ast.FuncDecl) (uses []string) {
	compared := map[ast.Node]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		is := false
		switch n := n.(type) {
		case *ast.CaseClause:
			for _, e := range n.List {
				compared[e] = true
			}
		case *ast.Ident:
			is = n.Name == "ctDelete" || n.Name == "NFNL_SUBSYS_CTNETLINK"
		case *ast.BasicLit:
			is = n.Value == "258" || n.Value == "0x102"
		}
		if is && !compared[n] {
			uses = append(uses, f.Name.Name)
		}
		return true
	})
	return uses
}
