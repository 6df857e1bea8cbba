package control

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// age is how old a status may be that is given out again.
const age = 200 * time.Millisecond

// A cache keeps the newest status, so that many readers cost the daemon no more than one.
type cache struct {
	turn  chan struct{} // holds a value while somebody has the rest
	body  []byte
	made  time.Time
	era   uint64        // when it was asked for
	epoch atomic.Uint64 // now; each request that was carried out begins another
}

// outdate has the next reader see what has changed.
func (c *cache) outdate() { c.epoch.Add(1) }

// get returns the newest status, encoded, and asks for it where the one at hand is old.
func (c *cache) get(ctx context.Context, ask func(context.Context) (*Status, error)) ([]byte, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := c.epoch.Load()
	if c.body != nil && c.era == now && time.Since(c.made) < age {
		return c.body, nil
	}
	s, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	c.body, c.made, c.era = encode(complete(s)), time.Now(), now
	return c.body, nil
}

// complete returns a status with its version, and with lists that are empty, not null.
func complete(given *Status) *Status {
	s := *given
	s.Version = Version
	s.Advice, s.Active = append([]Advice{}, s.Advice...), append([]Active{}, s.Active...)
	s.Yielded, s.Recent = append([]Yielded{}, s.Yielded...), append([]Act{}, s.Recent...)
	if s.Acts.Measures == nil {
		s.Acts.Measures = map[policy.Measure]Budget{}
	}
	return &s
}
