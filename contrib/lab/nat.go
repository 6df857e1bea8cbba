package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// masquerade makes the namespace translate everything that leaves by a link to
// that link's address. The nat chain also turns connection tracking on.
func masquerade(n *Namespace, link string) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	if err != nil {
		return fmt.Errorf("open nf_tables in %s: %w", n.Name, err)
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{
		Name: "masquerade", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifName(link)},
		&expr.Masq{},
	}})
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
