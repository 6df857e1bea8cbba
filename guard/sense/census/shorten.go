package census

import (
	"math"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A Shortened is what becomes of a class when its timeout is shortened and its
// entries are treated as if it had always been so short.
type Shortened struct {
	Timeout int `json:"timeout"` // seconds, the new one
	Fate
	// Established are assured connections in ESTABLISHED, which may be alive however
	// long they were silent. They are not among the others.
	Established Fate `json:"established"`
}

// A Fate is what becomes of entries. Low and High bound what the sample leaves open
// and what the histogram does: where in its bin an entry is. Both figures are 0 if
// nothing is shortened.
type Fate struct {
	Freed  Figure `json:"freed"`  // as old as the new timeout: they are deleted at once
	Sooner Figure `json:"sooner"` // younger: they live on, and end sooner than they would
}

// Shorten returns what a timeout of so many seconds does to a class of the report.
// What has more left than the timeout that is in force is somebody else's, and left
// alone. What may run on another, shorter timeout is taken for as young as that one
// makes it.
func (r *Report) Shorten(c *Class, seconds int) Shortened {
	freed, sooner := c.fates(seconds)
	s := r.scale()
	fate := func(seen func(Bin) int) Fate { return Fate{s.within(c, freed, seen), s.within(c, sooner, seen)} }
	all := func(b Bin) int { return s.seen(b.Entries) }
	alive := func(b Bin) int { return s.seen(b.Assured) }
	short := Shortened{Timeout: seconds}
	if c.Name != timeout.TCPEstablished.Name() {
		short.Fate = fate(all)
		return short
	}
	short.Fate = fate(func(b Bin) int { return all(b) - alive(b) })
	short.Established = fate(alive)
	return short
}

// scale is that of the report's figures.
func (r *Report) scale() scale {
	if r.Full {
		return scale{r.Table, r.Table}
	}
	return scale{r.Read, r.Table}
}

// seen is how many of those read it were that entries stand for.
func (s scale) seen(entries int) int {
	if s.table == 0 {
		return 0
	}
	return int(math.Round(float64(entries) * float64(s.read) / float64(s.table)))
}

// A reach is seconds left, from and to included.
type reach struct{ from, to int }

// overlap is how many seconds two have in common.
func (a reach) overlap(b reach) int { return max(0, min(a.to, b.to)-max(a.from, b.from)+1) }

// fates are how many seconds an entry has left that is as old as a new timeout, and
// one that is younger. Its age is what is gone of the shortest timeout that it can
// have begun with.
func (c *Class) fates(seconds int) (freed, sooner []reach) {
	from := 0
	for _, whole := range append(c.Others[:len(c.Others):len(c.Others)], c.Timeout) {
		if whole > seconds {
			old := max(from-1, whole-seconds)
			freed = append(freed, reach{from, old})
			sooner = append(sooner, reach{old + 1, whole})
		}
		from = whole + 1
	}
	return freed, sooner
}

// within is the figure of a class's entries that have so much left. It is 0 for
// certain of nothing.
func (s scale) within(c *Class, left []reach, seen func(Bin) int) Figure {
	if len(left) == 0 {
		return Figure{}
	}
	sure, unsure, about := 0, 0, 0.0
	for _, b := range c.Remaining {
		bin, part := reach{b.From, b.To}, 0
		for _, r := range left {
			part += bin.overlap(r)
		}
		n, width := seen(b), bin.overlap(bin)
		switch part {
		case 0:
		case width:
			sure += n
		default:
			unsure += n
			about += float64(n) * float64(part) / float64(width)
		}
	}
	f := s.figure(sure, unsure)
	f.Entries = min(max(s.entries(sure+int(math.Round(about))), f.Low), f.High)
	if s.table > 0 {
		f.Share = float64(f.Entries) / float64(s.table)
	}
	return f
}
