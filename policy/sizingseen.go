package policy

import (
	"math"
	"slices"
	"time"
)

// Seen is what was seen of a table, in entries.
type Seen struct {
	Hours       int     `json:"hours"`       // complete ones, 168 at the most
	Seconds     float64 `json:"seconds"`     // of readings
	Provisional bool    `json:"provisional"` // it is less than a day
	// Peak is what the fullest readings of 99 of 100 hours don't exceed; with less than a
	// hundred hours it is the highest.
	Peak    int `json:"peak"`
	Highest int `json:"highest"`
	Usual   int `json:"usual"` // of half of the hours the fullest reading is no higher
	// Rate is the fill rate that 99 of 100 hours don't exceed, in entries per second.
	Rate float64 `json:"rate"`

	// Of the flight record.
	Readings int           `json:"readings"`
	Full     time.Duration `json:"-"`
	FullFor  float64       `json:"full"`    // seconds that the table was full
	Refused  uint64        `json:"refused"` // packets that found it full
}

func (s *Seen) span() time.Duration { return time.Duration(s.Seconds * float64(time.Second)) }

// seen sums up the hours, and what the flight record adds to them.
func (in *SizingInput) seen() Seen {
	hours := in.Baseline.Learned()
	highs, rates := make([]float64, 0, len(hours)), make([]float64, 0, len(hours))
	for _, h := range hours {
		highs, rates = append(highs, float64(h.High)), append(rates, float64(h.Rate))
	}
	slices.Sort(highs)
	slices.Sort(rates)
	span, r := in.Baseline.Span(), &in.Record
	return Seen{
		Hours: in.Baseline.Hours(), Seconds: span.Seconds(), Provisional: span < wellSeen,
		Peak:    int(percentile(highs, 99)),
		Highest: max(int(highs[len(highs)-1]), r.Highest),
		Usual:   int(percentile(highs, 50)),
		Rate:    percentile(rates, 99),

		Readings: r.Readings, Full: r.Full, FullFor: r.Full.Seconds(), Refused: r.Refused,
	}
}

// percentile is the least of ascending values that so many of a hundred don't exceed.
func percentile(ascending []float64, of100 int) float64 {
	beyond := len(ascending) * (100 - of100) / 100
	return ascending[len(ascending)-1-beyond]
}

// standsOut is how many times the entries of the usual hour make one that may be no
// ordinary traffic. The daily course of a network is less.
const standsOut = 4

// outstanding is how many hours stand out, and the most that there was in the others. It
// is 0 when there is nothing to choose: the peak is that of the others.
func (z *sizing) outstanding() (n, rest int) {
	for _, h := range z.Baseline.Learned() {
		if float64(h.High) > standsOut*float64(z.Usual) {
			n++
			continue
		}
		rest = max(rest, int(h.High))
	}
	if z.Peak <= rest {
		return 0, rest
	}
	return n, rest
}

// Peaks are what a record of readings tells beside the hours of a Baseline.
type Peaks struct {
	Readings int
	Highest  int           // most entries
	Full     time.Duration // that the table was full
	Refused  uint64        // packets that found it full: dropped, or given the place of another entry

	last time.Duration // boot clock of the newest reading
	fill float64       // utilization then
}

// longestGap is how far apart two readings are at the most between which the table is
// taken to have been as they found it. The daemon reads at least once a second.
const longestGap = 10 * time.Second

// brimFull is the utilization of a table that is full: gc and new entries leave it a
// little below its limit most of the time.
const brimFull = 0.99

// Add takes in the next reading of a record.
func (p *Peaks) Add(s *Snapshot, now time.Duration) {
	fill := s.Utilization()
	if gap := now - p.last; p.Readings > 0 && min(fill, p.fill) >= brimFull && gap > 0 && gap <= longestGap {
		p.Full += gap
	}
	p.Refused += attribute(s.Losses, max(fill, p.fill)).full
	p.Readings++
	p.Highest = max(p.Highest, s.Count)
	p.last, p.fill = now, fill
}

// scale is how many times as many entries there are at the peak as in the census. That is
// not told by a census of a quiet hour, whose mix is another one.
func (z *sizing) scale() float64 {
	if z.Table == 0 || z.quiet() {
		return 1
	}
	return max(1, float64(z.Peak)/float64(z.Table))
}

// quiet reports whether the census found less than a quarter of what there is at the peak.
func (z *sizing) quiet() bool { return z.Table > 0 && z.Table < z.Peak/4 }

// scaled is a number of entries of the census, at the peak.
func (z *sizing) scaled(n int) int { return int(math.Round(float64(n) * z.scale())) }
