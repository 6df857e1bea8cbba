package policy

import (
	"fmt"
	"strings"
	"time"
)

// How long it is known of a flow what the table has shown of it. One that is
// translated stays so for longer.
const (
	sightAge      = time.Minute
	translatedAge = 10 * time.Minute
)

// bypass has the flows that the operator listed pass the gateway without tracking while
// the table is in trouble, and lifelines while it is full.
func (st *State) bypass(s *Snapshot, c *Config, now time.Duration) []Decision {
	out := st.track(s, c, now)
	var refused []string
	for i := range c.Bypass {
		f := &c.Bypass[i]
		mode := min(c.Mode, f.Mode)
		if mode == Off || !st.wants(f) || bypasses(s, f.Name) || st.restsFlow(s, f, c.Watch.YieldFor, now) {
			continue
		}
		sight, known := s.sight(f, now)
		switch {
		case !known:
		case sight.Seen == 0 && !f.Lifeline: // nothing to gain, and nobody knows whether it is translated
		case sight.NAT != "":
			refused = append(refused, fmt.Sprintf("%s, since %s is translated, which untracked packets are not", f.Name, sight.NAT))
		default:
			out = append(out, st.exempt(s, c, f, mode, now)...)
		}
	}
	if len(refused) > 0 {
		out = append(out, st.bounded(Bypass, 0, "stays tracked: "+strings.Join(refused, "; "))...)
	}
	return out
}

// exempt decides about one flow.
func (st *State) exempt(s *Snapshot, c *Config, f *Flow, mode Mode, now time.Duration) []Decision {
	reason := st.Now.figures()
	if !f.Lifeline {
		reason += "; the host's firewall must let its untracked packets pass"
	}
	d := st.seen(Do, reason)
	d.Measure, d.To, d.Terms = Bypass, 1, &Terms{Flow: f.Name, Mark: f.Mark(), Lease: c.Lease}
	return st.wish(s, mode, d, now)
}

// wants reports whether the trouble seen now is what a flow bypasses tracking for.
func (st *State) wants(f *Flow) bool {
	a := &st.Now
	if f.Lifeline {
		return a.Utilization >= nearFull
	}
	return a.Pressed && a.Cause.ofTable() || a.Cause == MemoryShort
}

// track ends bypasses whose reason has gone.
func (st *State) track(s *Snapshot, c *Config, now time.Duration) (out []Decision) {
	for _, ch := range stack(s, Bypass) {
		f := c.flow(ch.Terms.Flow)
		switch {
		case f == nil:
			out = append(out, st.end(ch, "the policy no longer lists it")...)
		case !stays(ch, min(c.Mode, f.Mode)):
			out = append(out, st.end(ch, "the policy is in mode "+min(c.Mode, f.Mode).String()+" now")...)
		case ch.Terms.Mark != f.Mark():
			out = append(out, st.end(ch, otherTerms)...)
		case ch.Terms.Lease != c.Lease:
			out = append(out, st.replace(s, ch, Terms{Flow: f.Name, Mark: f.Mark(), Lease: c.Lease})...)
		case st.wellFor(ch, st.needless(f, c), now) >= f.Hold:
			out = append(out, st.end(ch, fmt.Sprintf("%s entries (%s) and no trouble for %s", Number(s.Count), Percent(st.Now.Utilization), Span(f.Hold)))...)
		}
	}
	return out
}

// needless reports whether a flow could be tracked again.
func (st *State) needless(f *Flow, c *Config) bool {
	a := &st.Now
	if f.Lifeline {
		return a.Utilization < roomAgain
	}
	well := a.Utilization < middle(c) || st.Episode.Name == ""
	return well && !a.Cause.ofTable() && a.Cause != MemoryShort
}

// WantsFlows reports whether it is to be looked what the table shows of the flows that
// may bypass tracking. last is when it was done, 0 for never.
func (st *State) WantsFlows(s *Snapshot, c *Config, last, now time.Duration) bool {
	if last != 0 && now-last < 5*time.Second {
		return false
	}
	for i := range c.Bypass {
		f := &c.Bypass[i]
		_, known := s.sight(f, now)
		if !known && min(c.Mode, f.Mode) > Off && !bypasses(s, f.Name) && (st.wants(f) || f.Lifeline && st.Now.Pressed) {
			return true
		}
	}
	return false
}

// sight is what is known of a flow.
func (s *Snapshot) sight(f *Flow, now time.Duration) (FlowSight, bool) {
	for _, g := range s.Flows {
		age := sightAge
		if g.NAT != "" {
			age = translatedAge
		}
		if g.Flow == f.Name && g.Mark == f.Mark() && now-g.At <= age {
			return g, true
		}
	}
	return FlowSight{}, false
}

// flow is the flow of a name, nil if there is none.
func (c *Config) flow(name string) *Flow {
	for i := range c.Bypass {
		if c.Bypass[i].Name == name {
			return &c.Bypass[i]
		}
	}
	return nil
}

// bypasses reports whether a flow does so now.
func bypasses(s *Snapshot, name string) bool {
	for _, ch := range stack(s, Bypass) {
		if ch.Terms.Flow == name {
			return true
		}
	}
	return false
}

// restsFlow reports whether a flow must wait: it was refused by the kernel, or somebody
// else has ended it lately.
func (st *State) restsFlow(s *Snapshot, f *Flow, yieldFor, now time.Duration) bool {
	of := Snapshot{Approved: s.Approved}
	for _, ch := range s.Changes {
		if ch.Terms.Flow == f.Name {
			of.Changes = append(of.Changes, ch)
		}
	}
	return st.resting(&of, Bypass, 0, yieldFor, now)
}
