package policy

import (
	"fmt"
	"math"
)

const (
	keyMax     = "net.netfilter.nf_conntrack_max"
	keyBuckets = "net.netfilter.nf_conntrack_buckets"
)

// sizeUnit is what permanent sizes are rounded up to: bucketUnit, so that buckets come out
// as they are written.
const sizeUnit = bucketUnit

// roundUp is the next size that is written, and one that the kernel takes.
func roundUp(n int) int {
	return min((max(n, 1)+sizeUnit-1)/sizeUnit*sizeUnit, maxLimit/sizeUnit*sizeUnit)
}

// max is nf_conntrack_max: the peak with headroom, as far as the memory budget goes, and
// never less than it is, or than what there was without a limit. A lower one frees
// nothing, since entries take memory when they are made (nf_conntrack_alloc).
func (z *sizing) max() SizedValue {
	v := SizedValue{Key: keyMax}
	v.Now, v.Lent = lent(z.Now, RaiseMax, z.Now.Max)
	roomy := int(min(z.Headroom*float64(z.Peak), maxLimit))
	want, limit := roundUp(roomy), z.budget()
	v.To = max(min(want, limit), v.Now)
	if v.Now == 0 { // nothing is refused now
		v.To = max(v.To, roundUp(max(z.Peak, z.Highest)))
	}
	v.Reason = fmt.Sprintf("%s; %s that is %s.", z.peakText(), times(z.Headroom), Number(roomy))
	if v.Now == 0 {
		v.Reason += " The kernel keeps no limit now: a flood ends only where the memory does."
	}
	switch {
	case v.To < want || v.Now == 0 && v.To > limit:
		v.Reason += " " + z.shortOf(v.To, limit)
	case v.Now == 0 && v.To > want:
		v.Reason += fmt.Sprintf(" It held as many as %s, and less than that would be a loss.", Number(z.Highest))
	case v.Now == 0:
	case v.To == v.Now:
		v.Reason += " What there is suffices."
	}
	v.Cost = z.maxCost(v.To)
	v.TradeOff = "A flood can take all of it before it is refused, which is memory and CPU time for whoever reads the table. " +
		"It helps neither against a lack of source ports nor against long hash chains."
	if v.To == v.Now {
		v.TradeOff = "A lower limit would save nothing while there are few entries; it would only end a flood earlier, and with it everybody's new connections."
	}
	return v
}

// lent is a value without the guardian's changes in force, and with them if there are any.
func lent(s *Snapshot, m Measure, value int) (now, with int) {
	if open := stack(s, m); len(open) > 0 {
		return open[0].Before, value
	}
	return value, 0
}

// peakText says what the peak is.
func (z *sizing) peakText() string {
	switch hours := len(z.Baseline.Learned()); {
	case hours == 1:
		return fmt.Sprintf("In the only hour that was seen there were at most %s entries", Number(z.Peak))
	case hours < 100:
		return fmt.Sprintf("The fullest of %d hours held %s entries (half of them at most %s)", hours, Number(z.Peak), Number(z.Usual))
	default:
		return fmt.Sprintf("In 99 of 100 of the last %d hours there were at most %s entries (in half of them at most %s, once %s)",
			hours, Number(z.Peak), Number(z.Usual), Number(z.Highest))
	}
}

// times writes a factor: "twice" is what most ask for.
func times(f float64) string {
	if f == 2 {
		return "twice"
	}
	return fmt.Sprintf("%g times", f)
}

// budget is the max at which the tables, full, take the share of memory that the policy
// gives them, in whole units. There is none while it is not known what there is.
func (z *sizing) budget() int {
	if z.Now.MemAvailable <= 0 {
		return roundUp(maxLimit)
	}
	c := *z.Config
	c.Memory.EntryBytes = z.entryBytes()
	return max(affordable(z.Now, &c)/sizeUnit*sizeUnit, sizeUnit)
}

// shortOf says that memory bounds the limit.
func (z *sizing) shortOf(to, limit int) string {
	text := fmt.Sprintf("The memory budget of the policy, %s with %s MiB available, allows %s",
		Percent(z.Config.Memory.Budget), Number(int(z.Now.MemAvailable>>20)), Number(limit))
	switch {
	case to > limit && z.Now.Max == 0:
		return text + ", less than there were: the limit is above them all the same, since a lower one would refuse what is carried without one. " +
			"This machine needs more memory, or a larger budget."
	case to < z.Peak:
		return text + ": less than the peak itself. This machine needs more memory, or a larger budget."
	case to > limit:
		return text + ", less than it is now: it stays, and is not raised further."
	}
	return fmt.Sprintf("%s: %.1f times the peak.", text, float64(to)/float64(max(z.Peak, 1)))
}

// maxCost says what a full table takes.
func (z *sizing) maxCost(to int) string {
	full := int64(to) * int64(z.entryBytes())
	text := fmt.Sprintf("Nothing until entries are made. A full table takes %s (%d bytes an entry)", MiB(full), z.entryBytes())
	if n := z.Config.Memory.Tables; n > 1 {
		text += fmt.Sprintf(", and there are %d that have the limit to themselves", n)
	}
	if a := z.Now.MemAvailable; a > 0 {
		text += fmt.Sprintf("; %s is available now", MiB(a))
	}
	return text + "."
}

// buckets is nf_conntrack_buckets: a quarter of max at the least, and so many that a hash
// chain has two entries on average at the peak. Each entry is in two chains, one for each
// direction. All namespaces' entries are in the same chains (nf_conntrack_hash): of those
// with a table of their own each is taken to hold as many. What there is stays if it is
// more, as the kernel's default of one an entry of max is (nf_conntrack_init_start).
func (z *sizing) buckets(limit int) SizedValue {
	v := SizedValue{Key: keyBuckets}
	v.Now, v.Lent = lent(z.Now, GrowBuckets, z.Now.Buckets)
	tables := max(z.Config.Memory.Tables, 1)
	peak := min(z.Peak, limit) * tables // more are never there
	want := roundUp(max(limit/4, peak))
	v.To = max(want, v.Now)
	v.Reason = "A quarter of nf_conntrack_max at the least, and so many that at the peak a hash chain has two entries on average at the most. "
	if tables > 1 {
		v.Reason += fmt.Sprintf("The hash table is shared by %d tables, each taken to hold as many. ", tables)
	}
	v.Reason += fmt.Sprintf("Each entry is in two chains: it comes to %.1f at the peak, and %.1f when the table is full.", chain(peak, v.To), chain(limit*tables, v.To))
	v.Cost = fmt.Sprintf("%s from the beginning (%d bytes a bucket).", MiB(int64(v.To)*bucketBytes), bucketBytes)
	v.TradeOff = "To change it stalls all packets while the kernel rehashes, about half a second per million entries: at boot there are none, otherwise choose a quiet hour."
	if v.To == v.Now {
		v.Reason += " What there is suffices."
		v.TradeOff = "Fewer would save little memory, and cost a stall of all packets."
	}
	return v
}

// memory is what the sized table takes.
func (z *sizing) memory(limit, buckets int) SizedMemory {
	entry := int64(z.entryBytes())
	return SizedMemory{
		Entry: z.entryBytes(), Entries: entry * int64(limit), AtPeak: entry * int64(z.Peak),
		Buckets: int64(buckets) * bucketBytes, Available: z.Now.MemAvailable,
	}
}

// MiB writes bytes in MiB, with a decimal where there are few.
func MiB(bytes int64) string {
	m := float64(bytes) / (1 << 20)
	if m < 10 {
		return fmt.Sprintf("%.1f MiB", m)
	}
	return Number(int(math.Round(m))) + " MiB"
}
