package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// ticks are round numbers from 0 to top, at most n of them beside 0.
func ticks(top float64, n int) (out []float64) {
	step := math.Pow(10, math.Floor(math.Log10(max(top, 1)/float64(n))))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if top/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	step = max(step, 1)
	for v := 0.0; v <= top; v += step {
		out = append(out, v)
	}
	return out
}

// shortNumber writes a round number where there is little room: 50k.
func shortNumber(f float64) string {
	trim := func(s string) string { return strings.TrimSuffix(s, ".0") }
	switch {
	case f >= 1e6:
		return trim(fmt.Sprintf("%.1f", f/1e6)) + "M"
	case f >= 1e4:
		return trim(fmt.Sprintf("%.1f", f/1e3)) + "k"
	}
	return policy.Number(int(f))
}

// A moment is a time on an axis and how it is written.
type moment struct {
	at   time.Duration
	text string
}

// steps are the distances between two times on an axis.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// moments are round times of the wall clock within a window, n at most.
func (r *Report) moments(w window, n int) (out []moment) {
	step := steps[len(steps)-1]
	for _, s := range steps {
		if w.span()/s < time.Duration(n) {
			step = s
			break
		}
	}
	for w.span()/step >= time.Duration(n) {
		step *= 2
	}
	form := "15:04"
	switch {
	case step < time.Minute:
		form = "15:04:05"
	case step >= 24*time.Hour:
		form = "2 Jan"
	}
	first := r.wall(w.from).Truncate(step)
	for t := first; !t.After(r.wall(w.to)); t = t.Add(step) {
		if at := t.Sub(r.origin); at >= w.from {
			out = append(out, moment{at, t.Format(form)})
		}
	}
	return out
}
