package actions

import (
	"io/fs"
	"net/netip"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// span is how long the leases of the tests last.
const span = 15 * time.Second

// dns is a flow that the rigs' policy has.
var dns = Flow{Mark: "1a2b3c4d", Flow: nft.Flow{
	Name: "dns", Proto: 17, Ports: []nft.Ports{{Low: 53, High: 53}},
	From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, To: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
}}

// leasesOn are leases of a fake kernel, with the bounds of a policy.
func leasesOn(k *actionstest.LeaseKernel) *Leases {
	l := &Leases{
		Open: func(namespace string) (LeaseSocket, error) {
			s, err := k.Open(namespace)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Left: k.Left, EndLeft: k.EndLeft, Now: k.Now,
		Gone: func(namespace string) bool { _, ok := k.Space(namespace); return !ok },
		Follow: func(namespace string) (func() error, error) {
			was, ok := k.Space(namespace)
			if !ok {
				return nil, fs.ErrNotExist
			}
			return func() error {
				if now, ok := k.Space(namespace); !ok || now != was {
					return ErrGone
				}
				return nil
			}, nil
		},
	}
	l.Bounds(32, 64, []Flow{dns})
	return l
}

func limited(source string) Lease {
	return Lease{Kind: nft.Limit, Source: netip.MustParsePrefix(source), Rate: 50, Burst: 100, For: span}
}

func dropped(source string) Lease {
	return Lease{Kind: nft.Drop, Source: netip.MustParsePrefix(source), For: span}
}

func bypassed() Lease { return Lease{Kind: nft.Bypass, Flow: "dns", Mark: dns.Mark, For: span} }

// inside is the lease in the other namespace.
func inside(l Lease) Lease {
	l.Namespace = elsewhere
	return l
}

func leaseChange(l Lease) ledger.Change {
	return ledger.Change{Measure: "limit-source", Episode: "e1", Namespace: l.Namespace, Edits: []ledger.Edit{LeaseEdit(l)}}
}

// lease makes leases that must come into force.
func (r *rig) lease(t tester, all ...Lease) {
	t.Helper()
	for _, l := range all {
		if c, err := r.Do(leaseChange(l)); err != nil || c.State != applied {
			t.Fatalf("%s: %s %q, %v", l.key(), c.State, c.Note, err)
		}
	}
}

// inForce holds the kernel against the leases that should be in force.
func (r *rig) inForce(t tester, want ...Lease) {
	t.Helper()
	got := r.leased.Values()
	for _, l := range want {
		if got[l.key()] != l.text() {
			t.Errorf("%s reads %q, want %q", l.key(), got[l.key()], l.text())
		}
		delete(got, l.key())
	}
	for key, text := range got {
		t.Errorf("%s is in force: %s", key, text)
	}
}

// renews renews and wants the changes that were restored and that ended.
func (r *rig) renews(t tester, restored, ended []int) []ledger.Change {
	t.Helper()
	back, over, err := r.Renew()
	if err != nil {
		t.Errorf("renew: %v", err)
	}
	sameIDs(t, "restored", restored, back)
	sameIDs(t, "ended", ended, over)
	return over
}

func sameIDs(t tester, what string, want []int, got []ledger.Change) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
		return
	}
	for i, c := range got {
		if c.ID != want[i] {
			t.Errorf("%s: change %d, want %d", what, c.ID, want[i])
		}
	}
}

// onPlainToo runs a test on a kernel where tables have owners and on one where they
// have none.
func onPlainToo(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	for name, plain := range map[string]bool{"owned": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t)
			r.leased.SetPlain(plain)
			f(t, r)
		})
	}
}
