package policy

import (
	"fmt"
	"math"
	"time"
)

// A check waits for a change's effect: what had been lost in all when the change
// was first seen in force. That is one reading after it was made, so what was
// lost until then is not held against it.
type check struct {
	change int
	begun  time.Duration
	lost   losses
}

// walkPatience is how long the judgement on shortened timeouts waits for a walk over
// the existing entries to begin and do something.
const walkPatience = time.Minute

// pending reports whether there is no telling yet what came of the entries, for a change
// of that age. A walk that ended when there was room again tells.
func (w *Walk) pending(age time.Duration) bool {
	return w.Running || !w.Done && w.Deleted+w.Retimed == 0 && age < walkPatience
}

// judge says of each change in force, once and when its check is due, whether it
// helped. A change made by an earlier run is judged by what this run sees. Where
// more changes wait than there is place for, the oldest come first.
func (st *State) judge(s *Snapshot, c *Config, now time.Duration) []Decision {
	var out []Decision
	var waiting [levels]check
	n := 0
	for _, ch := range s.Changes {
		if ch.State != Applied || ch.Outcome != "" || ch.Measure == Bypass || n == levels {
			continue
		}
		k := st.check(ch.ID, now)
		_, known := s.refused(ch.ID)
		if ch.Measure == ShortenTimeouts && ch.Walk.pending(now-ch.Made) || ch.Measure == LimitSource && !known {
			k = check{ch.ID, now, st.history.total}
		}
		waiting[n] = k
		n++
		if now-k.begun >= checkOf(c, ch.Measure) {
			out = append(out, st.verdict(s, ch, k, c, now))
		}
	}
	st.checks = waiting
	return out
}

// check returns the check of a change, begun now if it is new.
func (st *State) check(id int, now time.Duration) check {
	for _, k := range st.checks {
		if k.change == id {
			return k
		}
	}
	return check{id, now, st.history.total}
}

func (st *State) verdict(s *Snapshot, ch Change, k check, c *Config, now time.Duration) Decision {
	d := st.decision(Judge, "").about(ch)
	d.From, d.To = ch.Before, ch.After
	windows := (now - k.begun).Seconds() / c.Watch.Window.Seconds()
	if ch.Measure == LimitSource {
		refused, _ := s.refused(ch.ID)
		d.Terms = &ch.Terms
		d.Outcome, d.Reason = outcomeOfLimit(refused, st.history.total.minus(k.lost))
		return d
	}
	d.Outcome, d.Reason = outcome(ch, st.history.total.minus(k.lost), float64(c.Watch.LossFloor)*max(windows, 1))
	return d
}

func checkOf(c *Config, m Measure) time.Duration {
	switch m {
	case GrowBuckets:
		return c.GrowBuckets.Check
	case ShortenTimeouts:
		return c.ShortenTimeouts.Check
	case LimitSource:
		return c.LimitSource.Check
	}
	return c.RaiseMax.Check
}

// outcome compares what was lost since the change with what the change can end.
// Fewer than floor other losses are noise. Losses that have nothing to do with
// the table's size say nothing about a change to it.
func outcome(ch Change, lost losses, floor float64) (Outcome, string) {
	m := ch.Measure
	if m == ShortenTimeouts {
		return outcomeOfWalk(ch.Walk, lost, floor)
	}
	switch {
	case m == RaiseMax && lost.full > 0:
		return NotEnough, fmt.Sprintf("the table filled again: %s lost since", Number(int(lost.full)))
	case m == RaiseMax && float64(lost.memory) >= floor:
		return DidNotHelp, fmt.Sprintf("%s lost since with room in the table", Number(int(lost.memory)))
	case m == GrowBuckets && float64(lost.chains) >= floor:
		return DidNotHelp, fmt.Sprintf("chains are still too long: %s lost since", Number(int(lost.chains)))
	}
	if lost != (losses{}) {
		return Helped, "what was lost since is little, or has other reasons"
	}
	return Helped, "nothing lost since"
}

// outcomeOfWalk is the outcome of shortened timeouts: entries that ended by them made
// room, whatever fills it now.
func outcomeOfWalk(w Walk, lost losses, floor float64) (Outcome, string) {
	ended := fmt.Sprintf("%s entries deleted, %s end sooner", Number(w.Deleted), Number(w.Retimed))
	missed := lost.full
	if float64(lost.memory) >= floor {
		missed += lost.memory
	}
	switch {
	case missed > 0 && w.Deleted+w.Retimed > 0:
		return NotEnough, fmt.Sprintf("%s; still %s lost since", ended, Number(int(missed)))
	case missed > 0:
		return DidNotHelp, fmt.Sprintf("no entry ended by it; %s lost since", Number(int(missed)))
	case lost != (losses{}):
		return Helped, ended + "; what was lost since is little, or has other reasons"
	}
	return Helped, ended + "; nothing lost since"
}

// outcomeOfLimit is the outcome of limiting a source, by what it has refused lately.
func outcomeOfLimit(refused float64, lost losses) (Outcome, string) {
	refuses := fmt.Sprintf("%s packets/s refused", Number(int(math.Round(refused))))
	missed := lost.full + lost.memory
	switch {
	case lost.full == 0 && lost.memory > 0 && refused < trifle:
		return DidNotHelp, fmt.Sprintf("it refuses nothing; %s lost since", Number(int(missed)))
	case missed > 0:
		return NotEnough, fmt.Sprintf("%s; still %s lost since", refuses, Number(int(missed)))
	}
	return Helped, refuses + "; nothing lost since"
}
