package actions

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A plainSocket holds limits of IPv4 sources in the running kernel as a guardian does
// where tables have no owner: anybody can flush them, and they outlive it. It has the
// set and no rules.
type plainSocket struct {
	namespace string
	held      map[nft.Lease]nft.Request
}

func (p *plainSocket) set() (*nftables.Table, *nftables.Set) {
	table := &nftables.Table{Name: nft.LimitsName, Family: nftables.TableFamilyIPv4}
	return table, &nftables.Set{
		Table: table, Name: "limited", KeyType: nftables.TypeIPAddr, HasTimeout: true, Size: 64, Dynamic: true,
	}
}

func (p *plainSocket) do(f func(*nftables.Conn) error) error {
	return netns.Do(p.namespace, func() error {
		c, err := nftables.New()
		if err == nil {
			err = f(c)
		}
		return err
	})
}

func (p *plainSocket) there() (is bool, err error) {
	err = p.do(func(c *nftables.Conn) error {
		all, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
		is = slices.ContainsFunc(all, func(t *nftables.Table) bool { return t.Name == nft.LimitsName })
		return err
	})
	return is, err
}

func (p *plainSocket) Hold(_ nft.Terms, lease time.Duration, of ...nft.Request) (remade []string, err error) {
	is, err := p.there()
	if err != nil {
		return nil, err
	}
	anew := !is || len(p.held) == 0
	if anew && len(p.held) > 0 {
		remade = []string{"ip " + nft.LimitsName}
	}
	for _, r := range of {
		p.held[r.Lease] = r
	}
	return remade, p.do(func(c *nftables.Conn) error {
		table, set := p.set()
		if anew {
			if is {
				c.DelTable(table)
			}
			c.AddTable(table)
			if err := c.AddSet(set, nil); err != nil {
				return err
			}
			return errors.Join(c.SetAddElements(set, p.elements(lease, of)), c.Flush())
		}
		for _, step := range []func(*nftables.Set, []nftables.SetElement) error{c.SetAddElements, c.SetDeleteElements, c.SetAddElements} {
			if err := step(set, p.elements(lease, of)); err != nil {
				return err
			}
		}
		return c.Flush()
	})
}

func (p *plainSocket) elements(lease time.Duration, of []nft.Request) (all []nftables.SetElement) {
	for _, r := range of {
		all = append(all, nftables.SetElement{
			Key: r.Source.Addr().AsSlice(), Timeout: lease, Comment: r.Source.String() + " " + r.Text,
		})
	}
	return all
}

func (p *plainSocket) End(of ...nft.Lease) error {
	for _, l := range of {
		delete(p.held, l)
	}
	return netns.Do(p.namespace, func() error { return nft.EndLeft(of...) })
}

func (p *plainSocket) Present() (bool, error) {
	is, err := p.there()
	return is || len(p.held) == 0, err
}

func (p *plainSocket) Read() ([]nft.Held, error) { return KernelLeases().Left(p.namespace) }

func (p *plainSocket) Close() error { // as if killed
	clear(p.held)
	return nil
}

// onPlainKernel is a holder whose tables have no owner.
func onPlainKernel(t *testing.T, dir, namespace string) *holder {
	h := holderOn(t, dir, namespace)
	h.leases.Open = func(namespace string) (LeaseSocket, error) {
		return &plainSocket{namespace, map[nft.Lease]nft.Request{}}, nil
	}
	return h
}

// two are limits of IPv4 sources.
func two(namespace string, length time.Duration) []Lease {
	all := []Lease{limited("10.0.0.5/32"), limited("10.0.0.6/32")}
	for i := range all {
		all[i].Namespace, all[i].For = namespace, length
	}
	return all
}

func TestRootFlushedLeasesAreRestored(t *testing.T) {
	namespace := netnstest.New(t)
	h := onPlainKernel(t, t.TempDir(), namespace)
	all := two(namespace, 3*time.Second)
	h.lease(t, all...)
	kernelHolds(t, namespace, all...)
	for range 2 {
		flushRuleset(t, namespace)
		kernelHolds(t, namespace)
		restored, ended, err := h.Renew()
		if err != nil || len(restored) != 2 || ended != nil {
			t.Fatal(restored, ended, err)
		}
		kernelHolds(t, namespace, all...)
	}
	time.Sleep(1500 * time.Millisecond)
	if restored, ended, err := h.Renew(); err != nil || restored != nil || ended != nil {
		t.Fatal(restored, ended, err)
	}
	time.Sleep(2 * time.Second) // longer than the first three seconds
	kernelHolds(t, namespace, all...)
	flushRuleset(t, namespace)
	time.Sleep(1100 * time.Millisecond) // what has lapsed meanwhile is not restored
	if restored, ended, err := h.Renew(); err != nil || restored != nil || len(ended) != 2 {
		t.Fatal(restored, ended, err)
	}
}

// A dead guardian's plain tables are there for as long as its leases last. Another
// guardian takes them along; rollback, which knows no policy, ends them.
func TestRootLeasesLeftInPlainTables(t *testing.T) {
	for name, next := range map[string]func(t *testing.T, h *holder, all []Lease){
		"renewed": func(t *testing.T, h *holder, all []Lease) {
			if restored, ended, err := h.Renew(); err != nil || restored != nil || ended != nil {
				t.Fatal(restored, ended, err)
			}
			kernelHolds(t, h.namespace, all...)
		},
		"another is made": func(t *testing.T, h *holder, all []Lease) {
			third := limited("10.0.0.7/32")
			third.Namespace, third.For = h.namespace, time.Minute
			h.lease(t, third)
			kernelHolds(t, h.namespace, append(all, third)...)
		},
		"rolled back": func(t *testing.T, h *holder, all []Lease) {
			h.leases.Bounds(0, 0, nil)
			for id := range all {
				if moved, err := h.Undo(id+1, "rolled back"); err != nil || len(moved) != 1 || moved[0].State != undone || moved[0].Note != "rolled back" {
					t.Fatal(moved, err)
				}
				kernelHolds(t, h.namespace, all[id+1:]...)
			}
			if n := tablesOf(t, h.namespace); n != 0 {
				t.Errorf("%d tables are left", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			namespace, dir := netnstest.New(t), t.TempDir()
			all := two(namespace, time.Minute)
			dead := onPlainKernel(t, dir, namespace)
			dead.lease(t, all...)
			if err := errors.Join(dead.leases.Close(), dead.ledger.Close()); err != nil {
				t.Fatal(err)
			}
			h := holderOn(t, dir, namespace) // with the guardian's own sockets
			if moved, err := h.Recover(); err != nil || moved != nil {
				t.Fatal(moved, err)
			}
			next(t, h, all)
		})
	}
}

// Somebody else writes over an element of ours.
func TestRootForeignElementIsYielded(t *testing.T) {
	namespace := netnstest.New(t)
	h := onPlainKernel(t, t.TempDir(), namespace)
	all := two(namespace, time.Minute)
	h.lease(t, all...)
	rival := plainSocket{namespace, map[nft.Lease]nft.Request{all[0].held(): {}}}
	if _, err := rival.Hold(nft.Terms{}, time.Minute, nft.Request{Lease: all[0].held(), Text: "mine"}); err != nil {
		t.Fatal(err)
	}
	moved, err := h.Undo(1, "calm")
	if err != nil || len(moved) != 1 || moved[0].State != ledger.Yielded {
		t.Fatal(moved, err)
	}
	if moved, err := h.Undo(2, "calm"); err != nil || moved[0].State != undone {
		t.Fatal(moved, err)
	}
	left, err := h.leases.Held(namespace)
	if err != nil || len(left) != 1 || left[0].Text != "mine" {
		t.Error(left, err)
	}
}
