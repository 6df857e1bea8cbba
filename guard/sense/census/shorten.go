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
	short := r.shorten(map[string]int{c.Name: seconds}, []Class{*c})
	short.Timeout = seconds
	return short
}

// ShortenAll returns what new timeouts, in seconds by the name of the class, do to
// all classes of the report together. Its Timeout is 0.
func (r *Report) ShortenAll(to map[string]int) Shortened { return r.shorten(to, r.Classes) }

func (r *Report) shorten(to map[string]int, classes []Class) (short Shortened) {
	var open, alive fates
	s := r.scale()
	for i := range classes {
		c := &classes[i]
		seconds, asked := to[c.Name]
		if !asked {
			continue
		}
		freed, sooner := c.reaches(seconds)
		all, assured := func(b Bin) int { return s.seen(b.Entries) }, func(b Bin) int { return s.seen(b.Assured) }
		if c.Name != timeout.TCPEstablished.Name() {
			open.add(c, freed, sooner, all)
			continue
		}
		open.add(c, freed, sooner, func(b Bin) int { return all(b) - assured(b) })
		alive.add(c, freed, sooner, assured)
	}
	short.Fate, short.Established = open.told(s), alive.told(s)
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

// The kernel cuts what an entry has left to whole seconds, so that it may be a second
// younger than it looks, and have one more to lose. No entry is given less than spared.
const (
	cut    = 1
	spared = timeout.Spared
)

// reaches are how many seconds an entry has left that is as old as a new timeout,
// and one that is younger. Its age is what is gone of the shortest timeout that it
// can have begun with.
func (c *Class) reaches(seconds int) (freed, sooner []reach) {
	from := 0
	for _, whole := range append(c.Others[:len(c.Others):len(c.Others)], c.Timeout) {
		if whole > seconds {
			old := max(from-1, whole-seconds-cut)
			freed = append(freed, reach{from, old})
			if whole > seconds+2*cut {
				sooner = append(sooner, reach{max(old+1, spared+cut+1), whole})
			}
		}
		from = whole + 1
	}
	return freed, sooner
}

// fates are a Fate in the making.
type fates struct {
	freed, sooner amount
	any           bool // something is shortened
}

// An amount is how many entries were seen: for certain, in bins that reach beyond
// what is asked for, and about how many of those are meant.
type amount struct {
	sure, unsure int
	about        float64
}

func (f *fates) add(c *Class, freed, sooner []reach, seen func(Bin) int) {
	f.any = f.any || len(freed) > 0
	for _, b := range c.Remaining {
		f.freed.add(b, freed, seen(b))
		f.sooner.add(b, sooner, seen(b))
	}
}

// add adds those of n entries of a bin that are within reach. They are taken as
// spread evenly over the bin.
func (a *amount) add(b Bin, left []reach, n int) {
	bin, part := reach{b.From, b.To}, 0
	for _, r := range left {
		part += bin.overlap(r)
	}
	switch width := bin.overlap(bin); part {
	case 0:
	case width:
		a.sure += n
	default:
		a.unsure += n
		a.about += float64(n) * float64(part) / float64(width)
	}
}

// told is 0 for certain if nothing is shortened.
func (f *fates) told(s scale) Fate {
	if !f.any {
		return Fate{}
	}
	return Fate{s.estimate(f.freed), s.estimate(f.sooner)}
}

// estimate is the figure of an amount.
func (s scale) estimate(a amount) Figure {
	f := s.figure(a.sure, a.unsure)
	f.Entries = min(max(s.entries(a.sure+int(math.Round(a.about))), f.Low), f.High)
	if s.table > 0 {
		f.Share = float64(f.Entries) / float64(s.table)
	}
	return f
}
