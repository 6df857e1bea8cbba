package sense

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Scout finds out who fills the table of a network namespace. It has one user at
// a time.
//
// What a source has is told by a census. How fast it makes connections is told by
// our own nft table where the policy has new connections counted, and otherwise
// by two censuses: how fast its entries become more.
type Scout struct {
	namespace string
	path      *netns.Path // of the namespace, nil for our own
	take      func(context.Context, census.Options) (census.Report, error)
	install   func(nft.Families) (counter, error)
	remove    func() error  // what a counter left that could not be closed
	apart     time.Duration // between two readings of the counters, at the least

	id       netns.ID      // of the namespace that was looked at
	before   census.Report // the newest, zero before the first
	counter  counter       // nil while new connections are not counted
	left     bool          // one may have been left
	families nft.Families  // that the counter counts
	counts   nft.Counts    // its newest reading
}

// A counter counts new connections. *nft.Table is the real one.
type counter interface {
	Read() (nft.Counts, error)
	Close() error
}

// A Sight is what one look has shown.
type Sight struct {
	Census   policy.Census
	Counting bool // new connections are being counted
	// Uncounted is why they are not, though they should be.
	Uncounted error
}

// countApart makes a rate of some connections a second out of two readings, and is
// not long to wait for.
const countApart = time.Second

// recent is how old a reading may be for a rate of the present.
const recent = time.Minute

// NewScout makes a scout for the network namespace at a path, the caller's own if
// it is empty.
func NewScout(namespace string) *Scout {
	s := &Scout{
		namespace: namespace, take: census.Take, apart: countApart,
		remove: func() error { return netns.Do(namespace, nft.Remove) },
		install: func(f nft.Families) (c counter, err error) {
			err = netns.Do(namespace, func() error {
				t, err := nft.Install(f, 0, 0)
				if err == nil {
					c = t
				}
				return err
			})
			return c, err
		},
	}
	if namespace != "" {
		s.path = netns.NewPath(namespace)
	}
	return s
}

// Look takes a census as the policy bounds it, and counts new connections for a
// second if it says so. That they can't be counted is no failure: the census
// stands by itself.
func (s *Scout) Look(ctx context.Context, c policy.Config) (Sight, error) {
	id, err := s.leave()
	if err != nil {
		return Sight{}, err
	}
	r, err := s.take(ctx, census.Options{Namespace: s.namespace, Sample: c.Census.Sample, CPU: c.Census.CPU})
	if err != nil {
		return Sight{}, err
	}
	s.id = id
	seen := Sight{Census: r.Policy()}
	switch {
	case !c.Counts():
		seen.Uncounted = s.Rest()
	case s.counter != nil || families(&r) != 0: // of an empty table there is nothing to count
		seen.Uncounted = s.count(ctx, &r, &seen.Census)
	}
	seen.Counting = s.counter != nil
	if before := s.before.At; !seen.Census.Counted && before != 0 && r.At-before <= 2*recent {
		grown(&seen.Census, census.Grown(&s.before, &r))
	}
	s.before = r
	return seen, nil
}

// leave forgets a namespace that the path names no longer, and returns the one that
// it names.
func (s *Scout) leave() (now netns.ID, err error) {
	if s.path == nil {
		return now, nil
	}
	if now, err = s.path.ID(); err != nil || !now.Another(s.id) {
		return now, nil // one that can't be entered is the census's to report
	}
	s.before = census.Report{}
	return now, s.Rest()
}

// count adds rates of new connections to a census.
func (s *Scout) count(ctx context.Context, r *census.Report, into *policy.Census) error {
	if err := s.ready(r); err != nil {
		return err
	}
	if err := wait(ctx, s.apart); err != nil {
		return err
	}
	now, err := s.counter.Read()
	if err != nil {
		return errors.Join(err, s.Rest())
	}
	rates := nft.Between(s.counts, now)
	s.counts = now
	counted(into, rates)
	return nil
}

// ready has a reading of a counter to start from.
func (s *Scout) ready(r *census.Report) (err error) {
	if has := families(r); s.families&has != has {
		if err := s.Rest(); err != nil {
			return err
		}
		if s.counter, err = s.install(has); err != nil {
			return err
		}
		s.families = has
	}
	if was := s.counts.At; was != 0 && r.At-was <= recent {
		return nil
	}
	s.counts, err = s.counter.Read()
	if errors.Is(err, fs.ErrNotExist) { // taken away by somebody: once more, next time
		return errors.Join(fmt.Errorf("somebody has removed it: %w", err), s.Rest())
	}
	return err
}

// families are those that have entries. A rule that asks for a connection's state
// makes the kernel track that family, so only one that is tracked anyway may be
// counted.
func families(r *census.Report) (f nft.Families) {
	if r.IPv6.Entries > 0 {
		f |= nft.IPv6
	}
	if r.IPv6.Entries < r.Table {
		f |= nft.IPv4
	}
	return f
}

// Rest takes the counter away. After an error it may be there still, and calling
// Rest again tries again.
func (s *Scout) Rest() (err error) {
	switch {
	case s.counter != nil:
		err = s.counter.Close()
	case s.left:
		err = s.remove()
	}
	s.counter, s.families, s.counts, s.left = nil, 0, nft.Counts{}, err != nil
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// counted adds counted rates to a census.
func counted(c *policy.Census, rates nft.Rates) {
	c.Counted, c.New = true, rates.New
	for _, r := range rates.Sources {
		for i := range c.Sources {
			if c.Sources[i].Prefix == r.Prefix {
				c.Sources[i].New = r.New
			}
		}
	}
	if len(rates.Sources) > 0 {
		c.Fastest = policy.Holder{Prefix: rates.Sources[0].Prefix, New: rates.Sources[0].New}
	}
}

// grown adds to a census how fast entries have become more.
func grown(c *policy.Census, growth []census.Growth) {
	for _, g := range growth {
		for i := range c.Sources {
			if c.Sources[i].Prefix == g.Prefix {
				c.Sources[i].New = max(g.Rate, 0)
			}
		}
	}
}
