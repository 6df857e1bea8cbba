package sense

import (
	"math"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A sought flow is one whose entries are looked for.
type sought struct {
	policy.Flow
	rules nft.Flow // the same in the kernel's words, to addresses that are told
	seen  float64  // entries; of one that is met several times a part each
	nat   string   // the first translated one that was found, as text
}

// entries are how many were seen, and never none where there was part of one.
func (f *sought) entries() int { return int(math.Ceil(f.seen - 0.01)) }

// seekFlow makes a flow ready to be looked for. What is local is told, not asked for.
func seekFlow(f policy.Flow, to []netip.Prefix) *sought {
	s := &sought{Flow: f, rules: nft.Flow{Name: f.Name, From: f.From, To: to, Proto: f.Proto}}
	for _, p := range f.Ports {
		s.rules.Ports = append(s.rules.Ports, nft.Ports{Low: p.Low, High: p.High})
	}
	return s
}

// has reports whether the rules for the flow would match packets of an entry. They are
// at raw priority, so those of either direction come by as its tuple says, not
// translated yet.
func (f *sought) has(e *ctnetlink.Entry) bool {
	return e.Proto == f.Proto && (f.hasTuple(&e.Orig, e.Proto) || f.hasTuple(&e.Reply, e.Proto))
}

func (f *sought) hasTuple(t *ctnetlink.Tuple, proto uint8) bool {
	src, dst := netip.AddrPortFrom(t.Src.Netip(), t.SrcPort), netip.AddrPortFrom(t.Dst.Netip(), t.DstPort)
	return f.rules.Has(proto, src, dst, nil)
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
