package census

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Policy is what a diagnosis asks for. How fast connections are made is left at
// 0: a single census does not tell.
func (r *Report) Policy() policy.Census {
	c := policy.Census{
		At: r.At, Read: r.Read, Table: r.Table,
		Closing: r.share(r.Closing), DeadUDP: r.share(r.DeadUDP),
		Opening: r.share(r.Opening), Idle: r.share(r.Idle),
		Classes: r.shares(),
	}
	for i, s := range r.Sources[:min(len(r.Sources), len(c.Sources))] {
		c.Sources[i] = policy.Holder{Prefix: s.Prefix, Share: r.share(s.Figure)}
	}
	if len(r.Pools) > 0 {
		p := r.Pools[0]
		c.Pool = policy.Pool{
			NAT: p.NAT, Dst: p.Dst, Port: p.Port, Proto: p.Proto,
			Used: p.Entries, Lowest: p.Lowest, Highest: p.Highest,
		}
	}
	return c
}

// shares are those of classes. A class that is not listed has none that was seen.
func (r *Report) shares() (of [policy.Timeouts]policy.Share) {
	listed := map[string]Figure{}
	for _, c := range r.Classes {
		listed[c.Name] = c.Figure
	}
	unseen := r.scale().figure(0, 0)
	for c := range policy.Timeouts {
		figure, ok := listed[c.String()]
		if !ok {
			figure = unseen
		}
		of[c] = r.share(figure)
	}
	return of
}

// share is a figure with its bounds as shares of the table.
func (r *Report) share(f Figure) policy.Share {
	if r.Table == 0 {
		return policy.Share{}
	}
	return policy.Share{
		Share: f.Share,
		Low:   float64(f.Low) / float64(r.Table),
		High:  float64(f.High) / float64(r.Table),
	}
}

// A Growth is how much faster a source's entries come than they go, in entries a
// second. It makes new connections at that rate or a higher one.
type Growth struct {
	Prefix netip.Prefix
	// Rate is an estimate: what one sample differs by from another looks like growth.
	Rate float64
	// Low is how fast it grows for certain, never below 0: from the most that it may have
	// held to the least that it may hold. It is as certain as the bounds of a Figure are.
	Low float64
}

// Grown returns the growth of each source in the list of the later of two reports,
// fastest first. It returns nothing for reports that can't be compared: of another
// depth or drill-down, of sources of another length, or not one after the other.
//
// A source that the earlier list does not have held no more than the last one
// there, and is taken to have held that much: it may have grown faster.
func Grown(before, after *Report) (list []Growth) {
	seconds := (after.At - before.At).Seconds()
	if seconds <= 0 || !before.comparable(after) {
		return nil
	}
	held := map[netip.Prefix]Figure{}
	for _, s := range before.Sources {
		held[s.Prefix] = s.Figure
	}
	for _, s := range after.Sources {
		was, listed := held[s.Prefix]
		if !listed {
			was = before.unlisted()
		}
		list = append(list, Growth{
			Prefix: s.Prefix,
			Rate:   float64(s.Entries-was.Entries) / seconds,
			Low:    float64(max(s.Low-was.High, 0)) / seconds,
		})
	}
	slices.SortStableFunc(list, func(a, b Growth) int { return cmp.Compare(b.Rate, a.Rate) })
	return list
}

// comparable reports whether both reports count the same.
func (r *Report) comparable(with *Report) bool {
	return r.Full == with.Full && r.Source == with.Source && r.IPv4Bits == with.IPv4Bits && r.IPv6Bits == with.IPv6Bits
}

// unlisted is how many entries a source that is not in the list has at most, by
// estimate: none where the list has room left.
func (r *Report) unlisted() Figure {
	if len(r.Sources) < rows {
		return Figure{}
	}
	return r.Sources[len(r.Sources)-1].Figure
}
