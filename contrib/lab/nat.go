package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Ports is a range of source ports, both included. The zero value is no range:
// the kernel keeps a port where it can and takes any other where it can't.
type Ports struct{ First, Last uint16 }

// masquerade makes the namespace translate everything that leaves by a link to
// that link's address and to a port of the range. The nat chain also turns
// connection tracking on.
func masquerade(n *Namespace, link string, ports Ports) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		return fmt.Errorf("open nf_tables in %s: %w", n.Name, err)
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{
		Name: "masquerade", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	leaves := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifName(link)},
	}
	if ports == (Ports{}) {
		leaves = append(leaves, &expr.Masq{})
	} else {
		// A port can be translated only where there is one: TCP, as the flood sends.
		leaves = append(leaves,
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Immediate{Register: 1, Data: wanAddr.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, ports.First)},
			&expr.Immediate{Register: 3, Data: binary.BigEndian.AppendUint16(nil, ports.Last)},
			// As masquerade would, which in this library can't be given a range.
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, RegProtoMax: 3},
		)
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: leaves})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade in %s: %w", n.Name, err)
	}
	return nil
}

// ifName is a link's name as nf_tables compares it: IFNAMSIZ bytes.
func ifName(name string) []byte {
	b := make([]byte, 16)
	copy(b, name)
	return b
}

// track6 makes the namespace track IPv6: a rule that asks for a connection's state
// does (nft_ct_get_init).
func track6(n *Namespace) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		return fmt.Errorf("open nf_tables in %s: %w", n.Name, err)
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyIPv6})
	chain := c.AddChain(&nftables.Chain{
		Name: "track", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("track IPv6 in %s: %w", n.Name, err)
	}
	return nil
}
