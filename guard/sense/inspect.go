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
// would break. It looks no further once each flow has such an entry, and has then seen
// but part of their entries.
//
// After an error it returns those flows of which a translated entry was found all the
// same: they are certain.
func (s *Scout) Inspect(ctx context.Context, c policy.Config) ([]policy.FlowSight, error) {
	flows, err := s.seek(&c)
	if err != nil || len(flows) == 0 {
		return nil, err
	}
	look := inspection{flows: flows, queries: queries(flows), left: len(flows)}
	err = s.find(ctx, census.Search{Namespace: s.namespace, CPU: c.Census.CPU, Queries: look.queries}, look.meet)
	at := boot.Now()
	var sights []policy.FlowSight
	for _, f := range flows {
		if err == nil || f.nat != "" {
			sights = append(sights, policy.FlowSight{Flow: f.Name, Mark: f.Mark(), At: at, Seen: f.entries(), NAT: f.nat})
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

// An inspection is one search for the entries of flows.
type inspection struct {
	flows   []*sought
	queries []ctnetlink.Query
	left    int // flows that no translated entry is known of
}

// meet looks of which flows an entry is, and reports whether more are to be looked at.
func (i *inspection) meet(e *ctnetlink.Entry) (more bool) {
	translates := e.Status&(ctnetlink.StatusSrcNAT|ctnetlink.StatusDstNAT) != 0
	for _, f := range i.flows {
		if !f.has(e) {
			continue
		}
		f.seen += 1 / float64(i.times(e))
		if translates && f.nat == "" {
			f.nat = translated(e)
			i.left--
		}
	}
	return i.left > 0
}

// times is how often an entry is met: once by each query that asks for it.
func (i *inspection) times(e *ctnetlink.Entry) (n int) {
	for at := range i.queries {
		q := &i.queries[at]
		if q.Family == e.Family && asks(&q.Orig, e.Proto, &e.Orig) && asks(&q.Reply, e.Proto, &e.Reply) {
			n++
		}
	}
	return max(n, 1)
}

// asks reports whether a tuple is what one of our queries asks for.
func asks(m *ctnetlink.Match, proto uint8, t *ctnetlink.Tuple) bool {
	return (m.Proto == 0 || m.Proto == proto) &&
		(m.SrcPort == 0 || m.SrcPort == t.SrcPort) && (m.DstPort == 0 || m.DstPort == t.DstPort)
}
