package nft

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/nftables"
)

// A kernel without the owner flag gets a plain table that does all the same,
// but others can take it away.
func TestRootPlainTable(t *testing.T) {
	plain := settings{families: IPv4 | IPv6, flags: unknownFlag, size: setSize, lapse: setTimeout}
	ours := &nftables.Table{Name: Name, Family: nftables.TableFamilyINet}
	for name, harm := range map[string]func(*nftables.Conn){
		"deleted":      func(c *nftables.Conn) { c.DelTable(ours) },
		"rules":        func(c *nftables.Conn) { c.FlushTable(ours) },
		"ruleset":      func(c *nftables.Conn) { c.FlushRuleset() },
		"made anew":    func(c *nftables.Conn) { c.DelTable(ours); c.AddTable(ours) },
		"nothing else": nil,
	} {
		t.Run(name, func(t *testing.T) {
			ns := loopback(t)
			table := installIn(t, ns, plain)
			if table.made.owned() || table.made.owner != 0 {
				t.Fatalf("made %+v, want a plain table", table.made)
			}
			inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 2) })
			counted(t, mustRead(t, table), 2, 0, map[string]uint64{"127.0.0.1/32": 2})
			present(t, table, true)
			if harm != nil {
				inside(t, ns, func() error {
					c, err := nftables.New()
					if err != nil {
						return err
					}
					harm(c)
					return c.Flush()
				})
				present(t, table, false)
			}
			if _, err := table.Read(); name == "deleted" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("read a table that is gone: %v, want ErrNotExist", err)
			}
			if err := table.Close(); err != nil {
				t.Error(err)
			}
			// It takes away its own table, not another of that name.
			if _, found := lookupIn(t, ns); found != (name == "made anew") {
				t.Errorf("after Close found is %v", found)
			}
		})
	}
}

// Nothing keeps two guardians apart where the kernel has no owner flag. The one
// whose table is replaced must see it, though the other has the same rules, and
// leave it alone.
func TestRootPlainTableOfAnother(t *testing.T) {
	plain := settings{families: IPv4 | IPv6, flags: unknownFlag, size: setSize, lapse: setTimeout}
	ns := loopback(t)
	first := installIn(t, ns, plain)
	second := installIn(t, ns, plain)
	present(t, first, false)
	present(t, second, true)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	present(t, second, true)
}

// leave leaves a plain table behind, as a guardian that died does: one of an
// earlier version, with a chain that the present one hasn't.
func leave(t *testing.T, ns string) identity {
	t.Helper()
	inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: Name, Family: nftables.TableFamilyINet})
		c.AddChain(&nftables.Chain{
			Name: "earlier", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		if err := c.AddSet(&nftables.Set{Table: table, Name: sources4, KeyType: nftables.TypeMark}, nil); err != nil {
			return err
		}
		return c.Flush()
	})
	id, found := lookupIn(t, ns)
	if !found || id.owned() {
		t.Fatalf("left %+v, %v", id, found)
	}
	return id
}

func TestRootInstallReplacesALeftover(t *testing.T) {
	for _, flags := range []uint32{flagOwner, unknownFlag} {
		ns := loopback(t)
		left := leave(t, ns)
		table := installIn(t, ns, settings{families: IPv4 | IPv6, flags: flags, size: setSize, lapse: setTimeout})
		if table.made.handle == left.handle {
			t.Errorf("the table left is still there: %+v", table.made)
		}
		present(t, table, true)
		inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 3) })
		counted(t, mustRead(t, table), 3, 0, map[string]uint64{"127.0.0.1/32": 3})
		inside(t, ns, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			if chain, err := c.ListChain(table.table, "earlier"); err == nil {
				t.Errorf("chain %s is still there", chain.Name)
			}
			return nil
		})
	}
}

func TestRootRemoveTakesALeftover(t *testing.T) {
	ns := loopback(t)
	leave(t, ns)
	inside(t, ns, Remove)
	if _, found := lookupIn(t, ns); found {
		t.Error("the table is still there")
	}
	inside(t, ns, Remove) // nothing to remove
}
