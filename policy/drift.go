package policy

import "fmt"

// yield gives up the keys that hold neither our value nor one we would have put
// there: somebody else has written them, knowingly or not, and a guardian that
// fights an administrator is worse than none.
func (st *State) yield(s *Snapshot, c *Config) []Decision {
	out := st.drifted(s, c, RaiseMax, s.Max)
	out = append(out, st.drifted(s, c, GrowBuckets, s.Buckets)...)
	return append(out, st.yieldTimeouts(s, c)...)
}

// yieldTimeouts gives up timeouts that somebody else has written. Others of the same
// change stay ours.
func (st *State) yieldTimeouts(s *Snapshot, c *Config) []Decision {
	in, found := driftedTimeouts(s)
	if len(found) == 0 {
		return nil
	}
	first := found[0]
	d := st.decision(Yield, fmt.Sprintf("we made %s %s, somebody else %s; keeping off for %s",
		first.Name, TimeoutText(first.From), TimeoutText(first.To), Span(c.Watch.YieldFor))).about(in)
	if n := len(found) - 1; n > 0 {
		d.Reason += fmt.Sprintf(", and off %d more likewise", n)
	}
	d.From, d.To, d.Timeouts = in.After, in.After, found
	return []Decision{d}
}

func (st *State) drifted(s *Snapshot, c *Config, m Measure, found int) []Decision {
	if !drifting(s, m, found) {
		return nil
	}
	open := stack(s, m)
	top := open[len(open)-1]
	d := st.decision(Yield, fmt.Sprintf("we wrote %s, somebody else wrote %s; keeping off for %s",
		Number(top.After), Number(found), Span(c.Watch.YieldFor))).about(top)
	d.From, d.To = top.After, found
	return []Decision{d}
}

// drifting reports whether the newest open change of a measure is no longer what
// the kernel holds.
func drifting(s *Snapshot, m Measure, found int) bool {
	open := stack(s, m)
	return len(open) > 0 && open[len(open)-1].After != found
}
