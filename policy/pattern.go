package policy

import "time"

// Pattern says how a table came to fill: what is in it, or how fast it came.
type Pattern string

// The patterns of table-filling and table-full.
const (
	NoPattern Pattern = ""
	Churn     Pattern = "churn"   // connections that are over hold it: closing TCP or dead UDP
	Spike     Pattern = "spike"   // it fills far faster than is ordinary
	Leak      Pattern = "leak"    // connections that nobody uses any more pile up and never go
	Chronic   Pattern = "chronic" // it has long been this full at an ordinary rate: it is too small
)

const (
	// dominates is the share of the table from which a kind of entry explains it.
	dominates = 0.5
	// slack is by how much less it still does, once it has been named.
	slack = 0.1
	// farOver is how many times the ordinary fill rate makes a spike.
	farOver = 4
	// over is how many times the ordinary fill rate is not ordinary any more.
	over = 2
	// unheardOf is the time in which no ordinary rate fills an empty table, and its
	// jitter over the window does not seem to. It tells a spike while nothing is known
	// yet of what is ordinary.
	unheardOf = 2 * time.Minute
	// leastClimb is for how many hours lows must have risen to show a leak.
	leastClimb = 3
	// leastChronic is for how many hours a table must have been above the low mark to
	// be too small.
	leastChronic = 2
)

// An explanation is a pattern with what speaks for it.
type explanation struct {
	pattern    Pattern
	confidence float64 // 0–1
	hours      int     // for how many hours it has been so, or have been learned (Spike)
	ordinary   float64 // the ordinary fill rate, 0 while it is not known (Spike)
	limit      int     // entries under which the table has not been (Chronic)
}

// explain names the pattern of a table that fills or is full. What is in it comes
// first, since it says what can be done about it; a leak and a chronic lack of
// room are told only at an ordinary rate.
func explain(a *Assessment, cause Cause, named Pattern, b *Baseline, s *Snapshot, c *Config) explanation {
	if !cause.ofTable() {
		return explanation{}
	}
	if e := churn(a, named); e.pattern != NoPattern {
		return e
	}
	if e := spike(a, b, s); e.pattern != NoPattern {
		return e
	}
	if ordinary, known := b.ordinary(); known && a.FillRate >= over*ordinary {
		return explanation{}
	}
	if e := leak(a, named, b); e.pattern != NoPattern {
		return e
	}
	return chronic(a, b, s, c)
}

// enough is the share of the table that makes a pattern.
func enough(p, named Pattern) float64 {
	if p == named {
		return dominates - slack
	}
	return dominates
}

// churn is as sure as the share of the dead is large, at the least.
func churn(a *Assessment, named Pattern) explanation {
	dead := a.Census.Closing.Low + a.Census.DeadUDP.Low
	if dead < enough(Churn, named) {
		return explanation{}
	}
	return explanation{pattern: Churn, confidence: dead}
}

// spike is surer the further the rate is over the ordinary one, and the better that
// is known.
func spike(a *Assessment, b *Baseline, s *Snapshot) explanation {
	ordinary, known := b.ordinary()
	switch times := a.FillRate / ordinary; {
	case known && times >= farOver:
		return explanation{pattern: Spike, confidence: (1 - 1/times) * upTo(b.n, 24), ordinary: ordinary, hours: b.n}
	case !known && a.FillRate*unheardOf.Seconds() >= float64(s.Max):
		return explanation{pattern: Spike, confidence: 0.5, hours: b.n}
	}
	return explanation{}
}

// leak is as sure as the share of the idle is large at the least, and the longer
// the table has not come down. One that does come down has none.
func leak(a *Assessment, named Pattern, b *Baseline) explanation {
	idle := a.Census.Idle.Low
	if idle < enough(Leak, named) {
		return explanation{}
	}
	hours := b.rising(a.Count)
	if hours < leastClimb && b.n >= leastClimb {
		return explanation{}
	}
	return explanation{pattern: Leak, confidence: idle * upTo(hours, 24), hours: hours}
}

// chronic is surer the longer it has lasted, and only half as sure while nobody has
// looked what else might fill the table. The limit is the one without our raises:
// they are the relief, not the cure.
func chronic(a *Assessment, b *Baseline, s *Snapshot, c *Config) explanation {
	limit := s.Max
	for _, ch := range s.Changes {
		if ch.Measure == RaiseMax && ch.State == Applied {
			limit = ch.Before // the oldest
			break
		}
	}
	least := c.Watch.Low * float64(limit)
	hours := b.above(least)
	if hours < leastChronic {
		return explanation{}
	}
	sure := upTo(hours, 24)
	if a.Census.At == 0 {
		sure /= 2
	}
	return explanation{pattern: Chronic, confidence: sure, hours: hours, limit: int(least)}
}

// evidence says the explanation's numbers.
func (e *explanation) evidence(k *Census) string {
	switch e.pattern {
	case Churn:
		return "connections that are over hold " + Percent(k.Closing.Share+k.DeadUDP.Share)
	case Spike:
		if e.ordinary == 0 {
			return "what is ordinary is not known yet"
		}
		return "ordinary is up to " + Number(int(e.ordinary)) + "/s"
	case Leak:
		if e.hours == 0 {
			return "whether it ever comes down is not known yet"
		}
		return "its low has been rising for " + hoursText(e.hours)
	case Chronic:
		return "not under " + Number(e.limit) + " for " + hoursText(e.hours)
	}
	return ""
}

// upTo is one half without any of so many hours, and one with all.
func upTo(hours, all int) float64 { return 0.5 + 0.5*min(float64(hours)/float64(all), 1) }

func hoursText(n int) string {
	if n == 1 {
		return "1 hour"
	}
	return Number(n) + " hours"
}

// explains is how many of the losses a cause explains.
func (l losses) explains(c Cause) uint64 {
	switch c {
	case TableFull:
		return l.full
	case SNATPorts:
		return l.snat
	case HashChains:
		return l.chains
	case MemoryShort:
		return l.memory
	case Unknown:
		return l.unknown
	}
	return 0
}

// surety is the confidence in a cause from 0 to 1: the share of what was lost that
// it explains, or without losses how near the figure is to where they begin.
func (a *Assessment) surety(cause Cause, c *Config) float64 {
	explained := a.lost.explains(cause)
	switch {
	case explained > 0:
		return float64(explained) / float64(a.lost.sum())
	case cause == TableFull:
		return min(a.Utilization, 1)
	case cause == TableFilling:
		return min(a.Utilization/c.Watch.High, 1)
	case cause == HashChains:
		return min(a.Chain/refusedChain, 1)
	}
	return 0
}

// refusedChain is the mean chain length at which single chains reach the 50 entries
// for which the kernel refuses more (nf_conntrack_hash_check_insert), measured.
const refusedChain = 38
