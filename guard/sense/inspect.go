package sense

import (
	"context"
	"net/netip"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Inspect looks through the whole table for translated entries of the flows that may
// bypass tracking, as fast as a census may, and returns what it has seen of each flow
// whose mode is not off. A packet that is not tracked is not translated, so such a flow
// would break.
//
// After an error it returns those flows of which a translated entry was found all the
// same: they are certain.
func (s *Scout) Inspect(ctx context.Context, c policy.Config) ([]policy.FlowSight, error) {
	at := boot.Now()
	flows, err := s.seek(&c)
	if err != nil || len(flows) == 0 {
		return nil, err
	}
	left := len(flows)
	err = s.find(ctx, census.Search{Namespace: s.namespace, CPU: c.Census.CPU, Queries: queries(flows)},
		func(e *ctnetlink.Entry) bool {
			left -= meet(flows, e)
			return left > 0
		})
	var sights []policy.FlowSight
	for _, f := range flows {
		if err == nil || f.nat != "" {
			sights = append(sights, policy.FlowSight{Flow: f.Name, Mark: f.Mark(), At: at, NAT: f.nat})
		}
	}
	return sights, err
}

// seek makes flows ready to be looked for. A lifeline goes to all addresses that are
// local, which is what its rules match.
func (s *Scout) seek(c *policy.Config) (flows []*sought, err error) {
	var local []netip.Prefix
	for i := range c.Bypass {
		f, to := c.Bypass[i], c.Bypass[i].To
		if f.Mode == policy.Off {
			continue
		}
		if f.Lifeline {
			if local == nil {
				if local, err = s.local(); err != nil {
					return nil, err
				}
			}
			to = local
		}
		flows = append(flows, seekFlow(f, to))
	}
	return flows, nil
}

// local are the addresses of the guarded namespace.
func (s *Scout) local() (list []netip.Prefix, err error) {
	err = netns.Do(s.namespace, func() error {
		list, err = ownAddresses()
		return err
	})
	return list, err
}

// meet looks whether an entry is a translated one of flows, and counts those that none
// was known of.
func meet(flows []*sought, e *ctnetlink.Entry) (found int) {
	if e.Status&(ctnetlink.StatusSrcNAT|ctnetlink.StatusDstNAT) == 0 {
		return 0
	}
	for _, f := range flows {
		if f.nat == "" && f.has(e) {
			f.nat = translated(e)
			found++
		}
	}
	return found
}
