package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// week is how many hours the baseline reaches back: seven days, so that each
// hour of the day and each day of the week is in it as often as any other.
const week = 7 * 24

// fewestHours is how many hours make a baseline that a rate can be compared with.
const fewestHours = 6

// An Hour is what was seen of the table in one hour of readings.
type Hour struct {
	Low  int32   `json:"low"`  // fewest entries
	High int32   `json:"high"` // most entries
	Rate float32 `json:"rate"` // fastest fill rate over the window, entries per second
}

// A Baseline is what is ordinary for this table: its last week of readings, hour
// by hour. Hours in which nothing was read don't count, so a restart or a reboot
// makes no gap. It is a plain value of about 2 KB however long it has learned.
type Baseline struct {
	hours  [week]Hour // complete hours, a ring
	n      int        // hours in it
	newest int        // index of the newest
	part   Hour       // the hour that is being read
	seen   time.Duration
	rate   float64 // that three of four hours' rates don't exceed
}

// learn takes in one reading that stands for a span of time.
func (b *Baseline) learn(count int, rate float64, span time.Duration) {
	n := int32(min(count, math.MaxInt32))
	if b.seen == 0 {
		b.part = Hour{Low: n, High: n}
	}
	b.part.Low, b.part.High = min(b.part.Low, n), max(b.part.High, n)
	b.part.Rate = max(b.part.Rate, float32(rate))
	if b.seen += span; b.seen >= time.Hour {
		b.add(b.part)
		b.seen = 0
	}
}

func (b *Baseline) add(h Hour) {
	if b.n > 0 {
		b.newest = (b.newest + 1) % week
	}
	b.n = min(b.n+1, week)
	b.hours[b.newest] = h
	rates := make([]float64, 0, week)
	for i := range b.n {
		rates = append(rates, float64(b.hour(i).Rate))
	}
	slices.Sort(rates)
	b.rate = rates[len(rates)*3/4]
}

// hour is the complete hour that many hours before the newest.
func (b *Baseline) hour(ago int) Hour { return b.hours[(b.newest-ago+week)%week] }

// Hours is how many hours have been learned.
func (b *Baseline) Hours() int { return b.n }

// ordinary is the fill rate that is ordinary for the table, in entries per second:
// what three of four hours' fastest don't exceed. What happens in fewer hours, a
// nightly job or a flood, does not move it; office hours and a job that runs every
// hour are ordinary. It is unknown during the first hours.
func (b *Baseline) ordinary() (rate float64, known bool) {
	return max(b.rate, 1), b.n >= fewestHours
}

// wobble is how far a low may fall short of the ones before it, as a share, and
// still not have come down.
const wobble = 0.02

// rise is what makes lows that don't come down a rise, as a share of the entries
// that are there to be explained.
const rise = 0.1

// rising is for how many hours the table's low has risen to its present count and
// never come down, by days or by hours. Traffic has a daily course, and a leak is
// seen below it: a rise of less than a day counts only where it has led well above
// where the table has been.
func (b *Baseline) rising(count int) int {
	days := make([]int32, 0, week/24)
	hours := make([]int32, 0, week)
	for i := range b.n {
		low := b.hour(i).Low
		hours = append(hours, low)
		if i%24 == 0 {
			days = append(days, low)
		}
		days[i/24] = min(days[i/24], low)
	}
	least := rise * float64(count)
	if n := climb(days[:b.n/24], least); n > 0 { // whole ones
		return 24 * n
	}
	n := climb(hours, least)
	if n < 24 && n < len(hours) && float64(slices.Max(hours[n:])) > float64(hours[0])*(1-rise) {
		return 0
	}
	return n
}

// climb is how many of the lows, newest first, make one rise to the newest by least:
// those back to the newest at its foot.
func climb(lows []int32, least float64) int {
	if len(lows) == 0 {
		return 0
	}
	foot, n := lows[0], 1
	for n < len(lows) && float64(lows[n]) <= float64(foot)*(1+wobble) {
		foot = min(foot, lows[n])
		n++
	}
	if float64(lows[0]-foot) < least || lows[0] == foot {
		return 0
	}
	return 1 + slices.IndexFunc(lows, func(low int32) bool { return float64(low) <= float64(foot)*(1+wobble) })
}

// above is for how many hours, up to now, the table has not been under a count.
func (b *Baseline) above(count float64) int {
	if b.seen > 0 && float64(b.part.Low) < count {
		return 0
	}
	n := 0
	for n < b.n && float64(b.hour(n).Low) >= count {
		n++
	}
	return n
}

// savedBaseline is the Baseline as it is kept over a restart.
type savedBaseline struct {
	Version int     `json:"version"`
	Hours   []Hour  `json:"hours"` // complete ones, oldest first
	Part    Hour    `json:"part"`  // of the hour that is being read
	Seen    float64 `json:"seen"`  // seconds of it
}

// MarshalJSON writes the baseline as UnmarshalJSON reads it.
func (b Baseline) MarshalJSON() ([]byte, error) {
	saved := savedBaseline{Version: 1, Hours: []Hour{}, Part: b.part, Seen: b.seen.Seconds()}
	for i := b.n - 1; i >= 0; i-- {
		saved.Hours = append(saved.Hours, b.hour(i))
	}
	return json.Marshal(saved)
}

// UnmarshalJSON reads a saved baseline, or leaves b alone and says what is wrong.
func (b *Baseline) UnmarshalJSON(text []byte) error {
	var saved savedBaseline
	if err := json.Unmarshal(text, &saved); err != nil {
		return err
	}
	switch {
	case saved.Version != 1:
		return fmt.Errorf("version %d, want 1", saved.Version)
	case len(saved.Hours) > week:
		return fmt.Errorf("%d hours, want at most %d", len(saved.Hours), week)
	case !(saved.Seen >= 0 && saved.Seen < time.Hour.Seconds()):
		return fmt.Errorf("%g seconds seen of an hour", saved.Seen)
	}
	var fresh Baseline
	for i, h := range append(saved.Hours, saved.Part) {
		if h.Low < 0 || h.High < h.Low || h.Rate < 0 {
			return fmt.Errorf("hour %d: from %d to %d entries at %g/s", i, h.Low, h.High, h.Rate)
		}
		if i < len(saved.Hours) {
			fresh.add(h)
		}
	}
	fresh.part, fresh.seen = saved.Part, time.Duration(saved.Seen*float64(time.Second))
	*b = fresh
	return nil
}

// Learned returns the hours that were learned, newest first: the one that is being read,
// if it was begun, and the complete ones.
func (b *Baseline) Learned() (hours []Hour) {
	if b.seen > 0 {
		hours = append(hours, b.part)
	}
	for i := range b.n {
		hours = append(hours, b.hour(i))
	}
	return hours
}

// Span is for how long the table was read, a week and an hour at the most.
func (b *Baseline) Span() time.Duration { return time.Duration(b.n)*time.Hour + b.seen }
