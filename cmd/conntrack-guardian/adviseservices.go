package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// serviceLeast is the share of the table from which a service is looked at. What is
	// advised is a little more, by the true count.
	serviceLeast = 0.005
	// servicesMost is how many are looked for at once, each in all entries.
	servicesMost = 20
)

// notracks are the protocols that a rule can match by port.
var notracks = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// untranslated are the services with a good part of the table of which no entry is
// translated. A census counts services whatever becomes of their packets, so all entries
// are gone through once more for those that come into question.
func untranslated(ctx context.Context, r *census.Report, namespace string, c policy.Config) ([]policy.ServiceUse, error) {
	candidates := busyServices(r)
	if len(candidates) == 0 {
		return nil, nil
	}
	c.Bypass = flowsTo(candidates)
	sights, err := sense.NewScout(namespace).Inspect(ctx, c)
	if err != nil {
		return nil, err
	}
	allowed, err := sense.NewAllowlist(namespace).Read(ctx, c)
	var uses []policy.ServiceUse
	for _, s := range sights {
		i, _ := strconv.Atoi(s.Flow) // as flowsTo has named it
		if to := candidates[i]; s.NAT == "" {
			uses = append(uses, policy.ServiceUse{Addr: to.Addr, Port: to.Port, Proto: to.Proto, Entries: s.Seen, Own: isOwn(to.Addr, allowed)})
		}
	}
	if err != nil {
		err = fmt.Errorf("which of them are the gateway's own: %w", err)
	}
	return uses, err
}

// isOwn reports whether an address is the gateway's own.
func isOwn(a netip.Addr, known []policy.Allowed) bool {
	return slices.ContainsFunc(known, func(k policy.Allowed) bool { return k.Own && k.Prefix.Contains(a) })
}

// busyServices are those that may be worth a rule.
func busyServices(r *census.Report) (list []census.Service) {
	for _, s := range r.Services {
		if _, ok := notracks[s.Proto]; ok && s.Share >= serviceLeast && len(list) < servicesMost {
			list = append(list, s)
		}
	}
	return list
}

// flowsTo are flows from everywhere to services, named by their place in the list.
func flowsTo(services []census.Service) (flows []policy.Flow) {
	for i, s := range services {
		from := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if s.Addr.Is6() {
			from = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		flows = append(flows, policy.Flow{
			Name: strconv.Itoa(i), Mode: policy.Observe, From: []netip.Prefix{from},
			To:    []netip.Prefix{netip.PrefixFrom(s.Addr, s.Addr.BitLen())},
			Proto: notracks[s.Proto], Ports: []policy.Ports{{Low: s.Port, High: s.Port}},
		})
	}
	return flows
}
