package sense

import (
	"context"
	"net/netip"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// New connections are counted in parts. One second makes a rate of some connections a
// second, and is not long to wait for; what comes in bursts shorter than two parts is
// missing in one of four.
const (
	parts     = 4
	partApart = 250 * time.Millisecond
)

// A count is a row of readings of one counter.
type count struct {
	readings []nft.Counts
	last     time.Time // when the newest was taken
	failed   error     // why the first one was not
}

// begin takes the first reading, if there is a counter.
func (c *count) begin(of counter) {
	if of != nil {
		c.failed = c.read(of)
	}
}

func (c *count) read(of counter) error {
	c.last = time.Now()
	now, err := of.Read()
	if err == nil {
		c.readings = append(c.readings, now)
	}
	return err
}

// finish takes the other readings, so that there are parts of them. What has passed
// since the first one counts.
func (c *count) finish(ctx context.Context, of counter, apart time.Duration) error {
	for len(c.readings) <= parts {
		if err := wait(ctx, apart-time.Since(c.last)); err != nil {
			return err
		}
		if err := c.read(of); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// rates adds what was counted to a census.
func (c *count) rates(to *policy.Census) {
	whole := nft.Between(c.readings[0], c.readings[len(c.readings)-1])
	to.Counted, to.New = true, whole.New
	if len(whole.Sources) > 0 {
		to.Fastest = policy.Holder{Prefix: whole.Sources[0].Prefix, New: whole.Sources[0].New}
	}
	of := holders(to)
	for _, r := range whole.Sources {
		for _, h := range of[r.Prefix] {
			h.New, h.Steady = r.New, r.New
		}
	}
	for i := range len(c.readings) - 1 {
		steady(of, nft.Between(c.readings[i], c.readings[i+1]))
	}
}

// holders are the holders of a census by their prefix: one may be the fastest as well.
func holders(c *policy.Census) map[netip.Prefix][]*policy.Holder {
	of := map[netip.Prefix][]*policy.Holder{}
	add := func(h *policy.Holder) {
		if h.Prefix.IsValid() {
			of[h.Prefix] = append(of[h.Prefix], h)
		}
	}
	for i := range c.Sources {
		add(&c.Sources[i])
	}
	add(&c.Fastest)
	return of
}

// steady lowers what is steady to what it was in one part. Whoever made no connection
// then is not among its rates.
func steady(of map[netip.Prefix][]*policy.Holder, part nft.Rates) {
	made := map[netip.Prefix]float64{}
	for _, r := range part.Sources {
		if _, asked := of[r.Prefix]; asked {
			made[r.Prefix] = r.New
		}
	}
	for prefix, all := range of {
		for _, h := range all {
			h.Steady = min(h.Steady, made[prefix])
		}
	}
}
