package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// beforeConntrack is sooner than conntrack (-200), but later than defragmentation
// (-400): ports can be told.
var beforeConntrack = nftables.ChainPriorityRaw

// raw fills the table of what is done before tracking. No rule of it asks for
// tracking. As nft(8) has it, for one flow to another machine and one to this:
//
//	set dropped4 { type ipv4_addr; flags timeout; size 8192; }
//	set refused4 { type ipv4_addr; flags dynamic,timeout; size 16384; timeout 10m; }
//	set armed { type mark; flags timeout; size 32; }
//	chain dropped4 { update @refused4 { ip saddr counter }; drop }
//	chain flow-dns {
//		meta nfproto ipv4 meta l4proto udp ip saddr { 10.0.0.0/8 } ip daddr { 192.0.2.1 } udp dport { 53 } notrack accept
//		meta nfproto ipv4 meta l4proto udp ip saddr { 192.0.2.1 } ip daddr { 10.0.0.0/8 } udp sport { 53 } notrack accept
//	}
//	chain in-ssh { meta nfproto ipv4 meta l4proto tcp ip saddr { 10.0.0.0/8 } tcp dport { 22 } fib daddr type local notrack accept }
//	chain out-ssh { meta nfproto ipv4 meta l4proto tcp ip daddr { 10.0.0.0/8 } tcp sport { 22 } notrack accept }
//	chain prerouting {
//		type filter hook prerouting priority -300; policy accept;
//		ip saddr @dropped4 jump dropped4
//		0 @armed jump flow-dns
//		1 @armed jump in-ssh
//	}
//	chain output {
//		type filter hook output priority -300; policy accept;
//		0 @armed jump flow-dns
//		1 @armed jump out-ssh
//	}
//
// and the same for IPv6. Hooks come last: until then nothing is in force.
func (r *ruleset) raw() error {
	var prerouting, output [][]expr.Any
	for _, s := range []*leaseSet{&dropped4, &dropped6} {
		rule, err := r.drops(s)
		if err != nil {
			return err
		}
		prerouting = append(prerouting, rule)
	}
	numbers := &nftables.Set{
		Table: r.table, Name: armed.name, KeyType: armed.key, KeyByteOrder: binaryutil.NativeEndian,
		HasTimeout: true, Size: maxFlows,
	}
	if err := r.socket.lib.AddSet(numbers, nil); err != nil {
		return err
	}
	for i, f := range r.terms.Flows {
		in, out, err := r.flow(&f)
		if err != nil {
			return err
		}
		gate := []expr.Any{&expr.Immediate{Register: 1, Data: flowKey(i)}, lookup(numbers)}
		prerouting = append(prerouting, append(slices.Clone(gate), jump(in)))
		output = append(output, append(gate, jump(out)))
		if err := r.socket.flush(); err != nil { // acknowledgements of all would not fit in a buffer
			return err
		}
	}
	chain := r.addHook("prerouting", nftables.ChainHookPrerouting, beforeConntrack)
	for _, exprs := range prerouting {
		r.addRule(chain, exprs)
	}
	chain = r.addHook("output", nftables.ChainHookOutput, beforeConntrack)
	for _, exprs := range output {
		r.addRule(chain, exprs)
	}
	return r.socket.flush()
}

func jump(to *nftables.Chain) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: to.Name} }

// notrack leaves a packet untracked, and has it pass the rest of the chain.
func notrack() []expr.Any {
	return []expr.Any{&expr.Notrack{}, &expr.Verdict{Kind: expr.VerdictAccept}}
}

// drops makes the sets and the chain that drops a source's packets, and returns the
// rule for the hook. It drops also what finds no room to be counted.
func (r *ruleset) drops(s *leaseSet) ([]expr.Any, error) {
	leases, refused, err := r.addSets(s)
	if err != nil {
		return nil, err
	}
	chain := r.addChain(s.name)
	r.addRule(chain, append(r.source(s), update(refused, &expr.Counter{})))
	r.addRule(chain, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	return slices.Concat(isProto(s.proto), r.source(s), []expr.Any{lookup(leases), jump(chain)}), nil
}

// flow makes the chains of a flow: what comes in, and what goes out.
func (r *ruleset) flow(f *Flow) (in, out *nftables.Chain, err error) {
	if f.Local {
		in, out = r.addChain("in-"+f.Name), r.addChain("out-"+f.Name)
	} else {
		in = r.addChain("flow-" + f.Name)
		out = in
	}
	for _, w := range []ipHeader{header4, header6} {
		from, to := w.own(f.From), w.own(f.To)
		if len(from) == 0 || len(to) == 0 && !f.Local {
			continue
		}
		if err := r.direction(in, w, f, side{w.source, from}, side{w.destination, to}, destinationPort); err != nil {
			return nil, nil, err
		}
		if err := r.direction(out, w, f, side{w.destination, from}, side{w.source, to}, sourcePort); err != nil {
			return nil, nil, err
		}
	}
	return in, out, nil
}

// Where TCP, UDP, UDP-Lite, SCTP and DCCP have their ports.
const (
	sourcePort      = 0
	destinationPort = 2
)

// An ipHeader is where a family has its addresses.
type ipHeader struct {
	proto               byte // NFPROTO_*
	key                 nftables.SetDatatype
	source, destination uint32
}

var (
	header4 = ipHeader{unix.NFPROTO_IPV4, nftables.TypeIPAddr, 12, 16}
	header6 = ipHeader{unix.NFPROTO_IPV6, nftables.TypeIP6Addr, 8, 24}
)

// own are the prefixes of the family.
func (h *ipHeader) own(all []netip.Prefix) (own []netip.Prefix) {
	for _, p := range all {
		if p.Addr().BitLen() == 8*int(h.key.Bytes) {
			own = append(own, p)
		}
	}
	return own
}

// A side is one address of a packet: where it is, and what it may be.
type side struct {
	offset uint32
	in     []netip.Prefix // none for any
}

// direction adds the rule of one family and direction.
func (r *ruleset) direction(chain *nftables.Chain, h ipHeader, f *Flow, client, server side, port uint32) error {
	exprs := append(isProto(h.proto),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.Proto}},
	)
	for _, s := range []side{client, server} {
		bounds := prefixBounds(s.in)
		if len(bounds) == 0 {
			continue
		}
		load := &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: s.offset, Len: h.key.Bytes, DestRegister: 1}
		in, err := r.interval(h.key, bounds)
		if err != nil {
			return err
		}
		exprs = append(exprs, load, in)
	}
	if bounds := portBounds(f.Ports); len(bounds) > 0 {
		in, err := r.interval(nftables.TypeInetService, bounds)
		if err != nil {
			return err
		}
		exprs = append(exprs, &expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2, DestRegister: 1}, in)
	}
	if f.Local && port == destinationPort {
		exprs = append(exprs, isLocal()...)
	}
	r.addRule(chain, append(exprs, notrack()...))
	return nil
}

// interval makes a constant set and returns what looks up register 1 in it.
func (r *ruleset) interval(key nftables.SetDatatype, bounds []bound) (expr.Any, error) {
	set := &nftables.Set{Table: r.table, Anonymous: true, Constant: true, Interval: true, KeyType: key}
	elements := make([]nftables.SetElement, len(bounds))
	for i, b := range bounds {
		elements[i] = nftables.SetElement{Key: b.at, IntervalEnd: b.end}
	}
	err := r.socket.lib.AddSet(set, elements)
	return lookup(set), err
}

// A bound is where an interval begins or, exclusively, ends. The last one may have
// no end.
type bound struct {
	at  []byte
	end bool
}

// prefixBounds are those of prefixes of one family, without such as are within
// another; none if they are everything.
func prefixBounds(all []netip.Prefix) (bounds []bound) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b netip.Prefix) int { return a.Compare(b) }) // the longer after the shorter
	var last netip.Prefix
	for _, p := range all {
		if p.Bits() == 0 {
			return nil
		}
		if last.IsValid() && last.Contains(p.Addr()) {
			continue
		}
		last = p
		bounds = append(bounds, bound{p.Addr().AsSlice(), false})
		if next := lastOf(p).Next(); next.IsValid() {
			bounds = append(bounds, bound{next.AsSlice(), true})
		}
	}
	return bounds
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// portBounds are those of ranges of ports, joined where they meet; none if there are
// no ports.
func portBounds(all []Ports) (bounds []bound) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Ports) int { return int(a.Low) - int(b.Low) })
	var joined []Ports
	for _, p := range all {
		if n := len(joined); n > 0 && int(p.Low) <= int(joined[n-1].High)+1 {
			joined[n-1].High = max(joined[n-1].High, p.High)
			continue
		}
		joined = append(joined, p)
	}
	for _, p := range joined {
		bounds = append(bounds, bound{binary.BigEndian.AppendUint16(nil, p.Low), false})
		if p.High < 1<<16-1 {
			bounds = append(bounds, bound{binary.BigEndian.AppendUint16(nil, p.High+1), true})
		}
	}
	return bounds
}
