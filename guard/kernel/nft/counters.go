package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Each set has room for setSize sources, and forgets one setTimeout after its
// last connection. A source costs some 150 bytes and two words for each CPU.
const (
	setSize    = 8192
	setTimeout = time.Minute
)

// Names in the table.
const (
	newChain        = "new"      // what every new connection comes by once
	newCounter      = "new"      // connections
	unlistedCounter = "unlisted" // those whose source found no room in its set
	sources4        = "sources4"
	sources6        = "sources6"
)

// afterConntrack is where the entry of a new connection exists, conntrack (-200)
// having seen the packet, but is neither translated (-100) nor confirmed yet.
var afterConntrack = nftables.ChainPriorityRef(-150)

// A family is where its packets have their source address and how much of it
// is one source.
type family struct {
	set    string
	key    nftables.SetDatatype
	proto  byte   // NFPROTO_*
	offset uint32 // of the source address in the network header
	mask   []byte // nil for all of it
	bits   int    // of the prefix that is one source
}

// The families, with the sources that are usual.
var (
	ipv4 = family{
		set: sources4, key: nftables.TypeIPAddr, proto: unix.NFPROTO_IPV4, offset: 12, bits: 32,
	}
	ipv6 = family{
		set: sources6, key: nftables.TypeIP6Addr, proto: unix.NFPROTO_IPV6, offset: 8, bits: 64,
		mask: mask(16, 64),
	}
)

// mask is that of a prefix, of so many bytes; nil if it leaves nothing out.
func mask(bytes, bits int) []byte {
	if bits == 8*bytes {
		return nil
	}
	return net.CIDRMask(bits, 8*bytes)
}

// by are the families that are counted, with sources of so many bits; 0 for the usual.
func (l layout) by(bits4, bits6 int) (counted []*family, err error) {
	for _, f := range l.counted {
		with := *f
		bits := bits4
		if f.proto == unix.NFPROTO_IPV6 {
			bits = bits6
		}
		if most := 8 * int(f.key.Bytes); bits < 0 || bits > most {
			return nil, fmt.Errorf("a source of %d bits is not of 1 to %d", bits, most)
		}
		if bits > 0 {
			with.bits, with.mask = bits, mask(int(f.key.Bytes), bits)
		}
		counted = append(counted, &with)
	}
	return counted, nil
}

// addCounts fills the table with what counts connections. As nft(8) has it:
//
//	chain new {
//		counter name new
//		meta nfproto ipv4 update @sources4 { ip saddr counter } return
//		meta nfproto ipv6 update @sources6 { ip6 saddr & ffff:ffff:ffff:ffff:: counter } return
//		counter name unlisted
//	}
//	chain prerouting {
//		type filter hook prerouting priority -150; policy accept;
//		ct state new ct status & confirmed == 0 jump new
//	}
//
// and the same for output; with one family alone meta and the other's rule and set are left
// out. An update that finds the set full ends its rule
// (nft_dynset_eval), so that the packet goes on to the last one.
func (t *Table) addCounts(with settings) error {
	lib := t.socket.lib
	count := lib.AddChain(&nftables.Chain{Name: newChain, Table: t.table})
	t.addCounter(newCounter, count)
	for _, f := range t.counted {
		set, err := t.addSet(f, with)
		if err != nil {
			return err
		}
		lib.AddRule(&nftables.Rule{Table: t.table, Chain: count, Exprs: f.listSource(set, len(t.counted) > 1)})
	}
	t.addCounter(unlistedCounter, count)
	t.addHook("prerouting", nftables.ChainHookPrerouting)
	t.addHook("output", nftables.ChainHookOutput)
	return t.socket.flush()
}

// addCounter makes a counter and a rule that counts by it.
func (t *Table) addCounter(name string, chain *nftables.Chain) {
	t.socket.lib.AddObj(&nftables.NamedObj{
		Table: t.table, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{},
	})
	t.socket.lib.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: []expr.Any{
		&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name},
	}})
}

// addSet makes the set of a family's sources.
func (t *Table) addSet(f *family, with settings) (*nftables.Set, error) {
	set := &nftables.Set{
		Table: t.table, Name: f.set, KeyType: f.key, KeyByteOrder: binaryutil.BigEndian,
		Dynamic: true, HasTimeout: true, Timeout: with.lapse, Size: with.size,
	}
	return set, t.socket.lib.AddSet(set, nil)
}

// listSource counts a packet of the family for its source. Asked is for the family, where
// the table is of more: of one in a table of that family alone nft(8) 1.0.6 dies.
func (f *family) listSource(set *nftables.Set, asked bool) (exprs []expr.Any) {
	if asked {
		exprs = []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.proto}},
		}
	}
	exprs = append(exprs, &expr.Payload{
		Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.key.Bytes, DestRegister: 1,
	})
	if f.mask != nil {
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: f.key.Bytes, Mask: f.mask, Xor: make([]byte, len(f.mask)),
		})
	}
	return append(exprs,
		&expr.Dynset{
			SrcRegKey: 1, SetName: set.Name, SetID: set.ID, Operation: unix.NFT_DYNSET_OP_UPDATE,
			Exprs: []expr.Any{&expr.Counter{}},
		},
		&expr.Verdict{Kind: expr.VerdictReturn},
	)
}

// addHook makes a base chain that sends the first packet of each connection to
// the chain new.
func (t *Table) addHook(name string, hook *nftables.ChainHook) {
	accept := nftables.ChainPolicyAccept
	chain := t.socket.lib.AddChain(&nftables.Chain{
		Name: name, Table: t.table, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: afterConntrack, Policy: &accept,
	})
	t.socket.lib.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: append(firstPacket(),
		&expr.Verdict{Kind: expr.VerdictJump, Chain: newChain})})
}

// firstPacket matches the packet that makes an entry: the state is new until a
// reply is seen, the entry is confirmed once its first packet has passed.
func firstPacket() []expr.Any {
	const confirmed = 1 << 3 // IPS_CONFIRMED, nf_conntrack_common.h
	zero := make([]byte, 4)
	return []expr.Any{
		// A packet has exactly one state.
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW)},
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, confirmed), Xor: zero,
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: zero},
	}
}
