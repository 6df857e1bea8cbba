package policy

import "fmt"

// yield gives up the keys that hold neither our value nor one we would have put
// there: somebody else has written them, knowingly or not, and a guardian that
// fights an administrator is worse than none.
func (st *State) yield(s *Snapshot, c *Config) []Decision {
	out := st.drifted(s, c, RaiseMax, s.Max)
	return append(out, st.drifted(s, c, GrowBuckets, s.Buckets)...)
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
