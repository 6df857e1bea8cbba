package page

import (
	"fmt"
	"math"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// mostSources is how many sources are told of.
const mostSources = 12

// tell says what a census has found.
func (b *builder) tell(k *policy.Census) *Census {
	c := &Census{At: b.r.wall(k.At - b.base), Read: k.Read, Table: k.Table, Counted: k.Counted}
	for _, kind := range []Kind{
		{"closing TCP", k.Closing}, {"dead UDP", k.DeadUDP}, {"half-open TCP", k.Opening}, {"idle TCP", k.Idle},
	} {
		if kind.Share.Share >= 0.0005 { // and shows
			c.Kinds = append(c.Kinds, kind)
		}
	}
	for _, h := range k.Sources {
		if h.Prefix.IsValid() && len(c.Sources) < mostSources {
			c.Sources = append(c.Sources, b.source(h, k.Table))
		}
	}
	if p := k.Pool; p.Used > 0 {
		c.Pool = fmt.Sprintf("%s to %s port %d %s: %s source ports in use, seen within %d–%d",
			p.NAT, p.Dst, p.Port, p.Proto, policy.Number(p.Used), p.Lowest, p.Highest)
	}
	return c
}

// source tells of one source, and which changes were about it.
func (b *builder) source(h policy.Holder, table int) Source {
	s := Source{Name: sourceText(h.Prefix), Share: h.Share, Entries: int(math.Round(h.Share.Share * float64(table))), New: h.New}
	for _, c := range b.follow.list {
		if c.source == s.Name {
			s.Changes = append(s.Changes, c.ID)
		}
	}
	return s
}

// shareText writes a share with the wider side of its interval, unless it is sure.
func shareText(s policy.Share) string {
	if off := max(s.High-s.Share, s.Share-s.Low); off >= 0.0005 {
		return fmt.Sprintf("%.1f ± %.1f %%", s.Share*100, off*100)
	}
	return fmt.Sprintf("%.1f %%", s.Share*100)
}

// policyText says what a policy allows.
func policyText(c *policy.Config) []string {
	mode := func(m policy.Mode) string { return min(m, c.Mode).String() }
	out := []string{
		"mode " + c.Mode.String(),
		fmt.Sprintf("trouble from %s, calm under %s", policy.Percent(c.Watch.High), policy.Percent(c.Watch.Low)),
		fmt.Sprintf("raise-max: %s, up to %s", mode(c.RaiseMax.Mode), policy.Number(c.RaiseMax.Ceiling)),
		fmt.Sprintf("grow-buckets: %s, up to %s", mode(c.GrowBuckets.Mode), policy.Number(c.GrowBuckets.Ceiling)),
		"shorten-timeouts: " + mode(c.ShortenTimeouts.Mode),
		fmt.Sprintf("limit-source: %s, to %s new connections/s", mode(c.LimitSource.Mode), policy.Number(c.LimitSource.Rate)),
	}
	if n := len(c.Bypass); n > 0 {
		out = append(out, fmt.Sprintf("bypass: %d flows listed", n))
	}
	return out
}
