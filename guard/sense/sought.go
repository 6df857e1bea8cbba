package sense

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A sought flow is one whose translated entries are looked for.
type sought struct {
	policy.Flow
	to  []netip.Prefix
	nat string // the first one that was found, as text
}

// has reports whether the rules for the flow would match packets of an entry. They are
// at raw priority, so those of either direction come by as its tuple says, not
// translated yet; and the flow may be either way round in each.
func (f *sought) has(e *ctnetlink.Entry) bool {
	return e.Proto == f.Proto && (f.hasTuple(&e.Orig) || f.hasTuple(&e.Reply))
}

func (f *sought) hasTuple(t *ctnetlink.Tuple) bool {
	there, back := f.hasPort(t.DstPort), f.hasPort(t.SrcPort)
	if !there && !back {
		return false
	}
	src, dst := t.Src.Netip(), t.Dst.Netip()
	return there && contains(f.From, src) && contains(f.to, dst) ||
		back && contains(f.to, src) && contains(f.From, dst)
}

func (f *sought) hasPort(port uint16) bool { return len(f.Ports) == 0 || within(f.Ports, port) }

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// translated is an entry as text: as it came, and what was made of it.
func translated(e *ctnetlink.Entry) string {
	text := end(e.Proto, e.Orig.Src, e.Orig.SrcPort) + " → " + end(e.Proto, e.Orig.Dst, e.Orig.DstPort) +
		" " + census.ProtocolName(e.Proto)
	if e.Status&ctnetlink.StatusSrcNAT != 0 {
		text += ", seen as " + became(e.Proto, e.Reply.Dst, e.Reply.DstPort, e.Orig.SrcPort)
	}
	if e.Status&ctnetlink.StatusDstNAT != 0 {
		text += ", sent on to " + became(e.Proto, e.Reply.Src, e.Reply.SrcPort, e.Orig.DstPort)
	}
	return text
}

// end is an address with its port, if the protocol has ports.
func end(proto uint8, a ctnetlink.Addr, port uint16) string {
	if !census.HasPorts(proto) {
		return a.Netip().String()
	}
	return netip.AddrPortFrom(a.Netip(), port).String()
}

// became is an end that was another port before.
func became(proto uint8, a ctnetlink.Addr, port, before uint16) string {
	if port == before {
		return a.Netip().String()
	}
	return end(proto, a, port)
}

// A kind is what the kernel can tell entries apart by: it takes no protocol without a
// family, and no prefix.
type kind struct{ family, proto uint8 }

// queries ask for all entries that can be of these flows, and for as few others as
// possible. What the kernel leaves out costs a seventh of what it does not.
func queries(flows []*sought) (list []ctnetlink.Query) {
	var kinds []kind
	ports := map[kind][]policy.Ports{}
	for _, f := range flows {
		for _, k := range f.kinds() {
			if !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
			ports[k] = append(ports[k], f.rarePorts()...)
		}
	}
	for _, k := range kinds {
		list = append(list, k.queries(ports[k])...)
	}
	return list
}

// kinds are those of a flow, one or two.
func (f *sought) kinds() (list []kind) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if slices.ContainsFunc(f.From, func(p netip.Prefix) bool { return p.Addr().Is4() == (family == unix.AF_INET) }) {
			list = append(list, kind{family, f.Proto})
		}
	}
	return list
}

// anyPort is all of them.
var anyPort = policy.Ports{High: 65535}

// rarePorts are those that are worth being asked for: a lifeline's has few entries,
// where another flow's may have most of its protocol.
func (f *sought) rarePorts() []policy.Ports {
	if f.Lifeline && len(f.Ports) > 0 {
		return f.Ports
	}
	return []policy.Ports{anyPort}
}

// queries ask for one kind. A port may be in each of four places, which takes a walk
// each: that saves time for one port, and none for two.
func (k kind) queries(ports []policy.Ports) []ctnetlink.Query {
	port := ports[0].Low
	if slices.ContainsFunc(ports, func(p policy.Ports) bool { return p != policy.Ports{Low: port, High: port} }) {
		return []ctnetlink.Query{{Family: k.family, Orig: ctnetlink.Match{Proto: k.proto}}}
	}
	src, dst := ctnetlink.Match{Proto: k.proto, SrcPort: port}, ctnetlink.Match{Proto: k.proto, DstPort: port}
	return []ctnetlink.Query{
		{Family: k.family, Orig: dst},
		{Family: k.family, Reply: src},
		{Family: k.family, Orig: src},
		{Family: k.family, Reply: dst},
	}
}
