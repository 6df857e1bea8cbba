package nft

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A foreign table is somebody else's, made by the library alone.
type foreign struct {
	lib     *nftables.Conn
	table   *nftables.Table
	counter *nftables.CounterObj
	set     *nftables.Set
}

// newForeign makes a table in the calling thread's namespace that counts the
// packets from other machines to an address.
func newForeign(name string, to netip.Addr) (*foreign, error) {
	lib, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	f := &foreign{lib: lib}
	f.table = lib.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	f.counter = &nftables.CounterObj{Table: f.table, Name: "seen"}
	lib.AddObj(f.counter)
	f.set = &nftables.Set{Table: f.table, Name: "set", KeyType: nftables.TypeIPAddr}
	if err := lib.AddSet(f.set, []nftables.SetElement{{Key: []byte{192, 0, 2, 1}}}); err != nil {
		return nil, err
	}
	chain := lib.AddChain(&nftables.Chain{
		Name: "watch", Table: f.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	lib.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4, DestRegister: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
		&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: "seen"},
	}})
	return f, lib.Flush()
}

// seen is how many packets it has counted.
func (f *foreign) seen(t testing.TB) uint64 {
	t.Helper()
	o, err := f.lib.GetObject(f.counter)
	if err != nil {
		t.Fatal(err)
	}
	return o.(*nftables.CounterObj).Packets
}

// listing is the table with all that is in it, byte by byte as the kernel has
// it.
func (f *foreign) listing(t testing.TB) (all []byte) {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first attribute of every request is the table's name. A chain can only be
	// asked for by name.
	table := []netlink.Attribute{{Type: 1, Data: []byte(f.table.Name + "\x00")}}
	second := func(name string) []netlink.Attribute {
		return append(table[:1:1], netlink.Attribute{Type: 2, Data: []byte(name + "\x00")})
	}
	chain := append(table[:1:1], netlink.Attribute{Type: unix.NFTA_CHAIN_NAME, Data: []byte("watch\x00")})
	for _, request := range []struct {
		kind  uint16
		flags netlink.HeaderFlags
		attrs []netlink.Attribute
	}{
		{unix.NFT_MSG_GETTABLE, 0, table},
		{unix.NFT_MSG_GETCHAIN, 0, chain},
		{unix.NFT_MSG_GETRULE, netlink.Dump, table},
		{unix.NFT_MSG_GETSET, netlink.Dump, table},
		{unix.NFT_MSG_GETSETELEM, netlink.Dump, second("set")},
		{unix.NFT_MSG_GETOBJ, netlink.Dump, table},
	} {
		body, err := netlink.MarshalAttributes(request.attrs)
		if err != nil {
			t.Fatal(err)
		}
		answers, err := conn.Execute((&socket{family: unix.NFPROTO_INET}).message(request.kind, request.flags, body))
		if err != nil || len(answers) == 0 {
			t.Fatalf("list table %s, message %d: %d answers, %v", f.table.Name, request.kind, len(answers), err)
		}
		for _, a := range answers {
			all = append(all, a.Data[nfgenmsg:]...)
		}
	}
	return all
}
