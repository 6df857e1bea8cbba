package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// afterCounting is where a new connection has been counted, by the counting table at
// -150, but has no confirmed entry yet: what is refused there leaves none.
var afterCounting = nftables.ChainPriorityRef(-149)

// A ruleset is what fills a table of leases.
type ruleset struct {
	socket *socket
	table  *nftables.Table
	with   leaseSettings
	terms  *Terms
}

// limits fills the table of a family. As nft(8) has it:
//
//	set limited { type ipv4_addr; flags timeout; size 8192; }
//	set refused { type ipv4_addr; flags dynamic,timeout; size 16384; timeout 10m; }
//	chain prerouting {
//		type filter hook prerouting priority -149; policy accept;
//		ct state new ct status & confirmed == 0 ip saddr @limited update @refused {
//			ip saddr limit rate over 50/second burst 100 packets counter } drop
//	}
//
// An update that finds the set full ends its rule (nft_dynset_eval), and so does one
// whose limit is not exceeded, before it counts (nft_set_elem_update_expr): the packet
// passes. A limiter's state is in the set that is not renewed.
func (r *ruleset) limits() error {
	s := &limited4
	if byte(r.table.Family) == limited6.proto {
		s = &limited6
	}
	leases, refused, err := r.addSets(s)
	if err != nil {
		return err
	}
	over := &expr.Limit{
		Type: expr.LimitTypePkts, Rate: uint64(r.terms.Rate), Unit: expr.LimitTimeSecond, Burst: r.terms.Burst, Over: true,
	}
	exprs := append(firstPacket(), r.source(s)...)
	exprs = append(exprs, lookup(leases))
	exprs = append(exprs, r.source(s)...)
	exprs = append(exprs, update(refused, over, &expr.Counter{}), &expr.Verdict{Kind: expr.VerdictDrop})
	r.addRule(r.addHook("prerouting", nftables.ChainHookPrerouting, afterCounting), exprs)
	return r.socket.flush()
}

// addSets makes the set of leases and the one that counts what they refuse.
func (r *ruleset) addSets(s *leaseSet) (leases, refused *nftables.Set, err error) {
	leases = &nftables.Set{
		Table: r.table, Name: s.name, KeyType: s.key, KeyByteOrder: binaryutil.BigEndian,
		HasTimeout: true, Size: r.with.size,
	}
	refused = &nftables.Set{
		Table: r.table, Name: s.refused, KeyType: s.key, KeyByteOrder: binaryutil.BigEndian,
		Dynamic: true, HasTimeout: true, Timeout: r.with.forget, Size: r.with.refused,
	}
	if err := r.socket.lib.AddSet(leases, nil); err != nil {
		return nil, nil, err
	}
	return leases, refused, r.socket.lib.AddSet(refused, nil)
}

// source loads a packet's source as the leases have it.
func (r *ruleset) source(s *leaseSet) []expr.Any {
	exprs := []expr.Any{&expr.Payload{
		Base: expr.PayloadBaseNetworkHeader, Offset: s.offset, Len: s.key.Bytes, DestRegister: 1,
	}}
	if m := mask(int(s.key.Bytes), s.bits(r.terms)); m != nil {
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: s.key.Bytes, Mask: m, Xor: make([]byte, len(m)),
		})
	}
	return exprs
}

func (r *ruleset) addHook(name string, hook *nftables.ChainHook, at *nftables.ChainPriority) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return r.socket.lib.AddChain(&nftables.Chain{
		Name: name, Table: r.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: at, Policy: &accept,
	})
}

func (r *ruleset) addChain(name string) *nftables.Chain {
	return r.socket.lib.AddChain(&nftables.Chain{Name: name, Table: r.table})
}

func (r *ruleset) addRule(chain *nftables.Chain, exprs []expr.Any) {
	r.socket.lib.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: exprs})
}

// lookup matches what is in register 1 by a set.
func lookup(set *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}
}

// update makes or refreshes the element that is in register 1.
func update(set *nftables.Set, each ...expr.Any) expr.Any {
	return &expr.Dynset{
		SrcRegKey: 1, SetName: set.Name, SetID: set.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: each,
	}
}

// isProto matches packets of IPv4 or IPv6 by NFPROTO_*.
func isProto(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// isLocal matches packets to an address of this machine.
func isLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}
}
