package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

const (
	// leaseFor is the policy's default, and leaseRenewed when the daemon renews.
	leaseFor     = 15 * time.Second
	leaseRenewed = leaseFor / 3
	// mostLeases are as many as the silent sources' net has addresses.
	mostLeases = 1 << 16
)

// leaseTerms let a limited source have as much as a policy would.
var leaseTerms = nft.Terms{Rate: 50, Burst: 100, IPv4Bits: 32, IPv6Bits: 64}

// silent is the net of sources that have a lease and send nothing. Nothing is routed
// there.
var silent = netip.MustParsePrefix("10.90.0.0/16")

// offender is the source that floods.
var offender = netip.MustParsePrefix("10.78.255.1/32")

// leasesOf are leases of n silent sources, as the daemon asks for them.
func leasesOf(n int) (of []nft.Request) {
	a := silent.Addr()
	for range n {
		of = append(of, leaseOf(netip.PrefixFrom(a, 32)))
		a = a.Next()
	}
	return of
}

func leaseOf(source netip.Prefix) nft.Request {
	return nft.Request{Lease: nft.Lease{Kind: nft.Limit, Source: source}, Text: "50/s burst 100 lease 15s"}
}

// A leaseHold is leases in force in a gateway, renewed until they are let go.
type leaseHold struct {
	*nft.Leases
	of     []nft.Request
	cancel context.CancelFunc
	over   chan error // how renewing ended

	took []time.Duration // by the renewals, each of all leases
}

// openLeases opens the gateway's leases.
func openLeases(g *lab.Gateway) (l *nft.Leases, err error) {
	err = g.Router.Do(func() error {
		l, err = nft.OpenLeases()
		return err
	})
	return l, err
}

// holdLeases puts leases in force, which may be none.
func holdLeases(ctx context.Context, g *lab.Gateway, of []nft.Request) (*leaseHold, error) {
	l, err := openLeases(g)
	if err != nil {
		return nil, err
	}
	h := &leaseHold{Leases: l, of: of, over: make(chan error, 1)}
	ctx, h.cancel = context.WithCancel(ctx)
	if _, err := l.Hold(leaseTerms, leaseFor, of...); err != nil {
		h.cancel()
		return nil, errors.Join(err, l.Close())
	}
	// Do turns a panic into an error, which must not end the process: the machine's
	// values are to be put back.
	go func() { h.over <- g.Router.Do(func() error { return h.renew(ctx) }) }()
	return h, nil
}

// renew renews them until the context ends.
func (h *leaseHold) renew(ctx context.Context) error {
	due := time.NewTicker(leaseRenewed)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-due.C:
		}
		began := time.Now()
		remade, err := h.Hold(leaseTerms, leaseFor, h.of...)
		if err == nil && len(remade) > 0 {
			err = fmt.Errorf("tables %q had gone", remade)
		}
		if err != nil {
			return fmt.Errorf("renew %d leases: %w", len(h.of), err)
		}
		h.took = append(h.took, time.Since(began))
	}
}

// settle ends renewing and returns what the offender was refused. All leases must be
// in force until then.
func (h *leaseHold) settle() (refused uint64, err error) {
	h.cancel()
	if err := <-h.over; err != nil {
		return 0, err
	}
	held, err := h.Read()
	if err != nil {
		return 0, err
	}
	if len(held) != len(h.of) {
		return 0, fmt.Errorf("%d leases are in force of %d", len(held), len(h.of))
	}
	for _, l := range held {
		refused += l.Refused
		if l.Refused > 0 && l.Source != offender {
			return 0, fmt.Errorf("%s was refused %d packets, it sends none", l.Source, l.Refused)
		}
	}
	return refused, nil
}

// letGo ends the leases, also if settle was not called.
func (h *leaseHold) letGo() error {
	h.cancel()
	return h.Close()
}

// isLeased reports whether the offender is among the leases.
func isLeased(of []nft.Request) bool { return slices.Contains(of, leaseOf(offender)) }
