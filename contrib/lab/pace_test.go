package lab

import (
	"testing"
	"time"
)

func TestPacer(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	p := pacer{rate: 1000, start: start}
	for _, step := range []struct{ ms, limit, want int }{
		{0, 100, 0},
		{10, 100, 10},
		{10, 100, 0},
		{30, 15, 15},    // the limit
		{30, 15, 5},     // and what it left
		{530, 100, 100}, // after a stall no more than the limit or 50 ms,
		{530, 100, 0},   // the rest is forgone
		{540, 100, 10},
	} {
		if got := p.due(at(step.ms), step.limit); got != step.want {
			t.Errorf("due(%d ms, %d) = %d, want %d", step.ms, step.limit, got, step.want)
		}
	}
	if got := new(pacer).due(start, 7); got != 7 {
		t.Errorf("without a rate due = %d, want the limit", got)
	}
}
