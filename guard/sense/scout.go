package sense

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Scout finds out who fills the table of a network namespace, and which flows are
// translated there. It has one user at a time.
//
// What a source has is told by a census. How fast it makes connections is told by
// our own nft table where the policy has new connections counted, and otherwise
// by two censuses: how fast its entries become more.
type Scout struct {
	namespace string
	path      *netns.Path // of the namespace, nil for our own
	take      func(context.Context, census.Options) (census.Report, error)
	find      func(context.Context, census.Search, func(*ctnetlink.Entry) bool) error
	install   func(nft.Families, sizes) (counter, error)
	remove    func() error  // what a counter left that could not be closed
	apart     time.Duration // between two readings of the counters, at the least

	id       netns.ID      // of the namespace that was looked at
	sizes    sizes         // of the sources that are told apart
	before   census.Report // the newest, zero before the first
	counter  counter       // nil while new connections are not counted
	left     bool          // one may have been left
	families nft.Families  // that the counter counts
}

// Sizes are the lengths of the prefixes that are one source.
type sizes struct{ ipv4, ipv6 int }

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

// recent is how old a reading may be for a rate of the present.
const recent = time.Minute

// NewScout makes a scout for the network namespace at a path, the caller's own if
// it is empty.
func NewScout(namespace string) *Scout {
	s := &Scout{
		namespace: namespace, take: census.Take, find: census.Find, apart: partApart,
		remove: func() error { return netns.Do(namespace, nft.Remove) },
		install: func(f nft.Families, by sizes) (c counter, err error) {
			err = netns.Do(namespace, func() error {
				t, err := nft.Install(f, by.ipv4, by.ipv6)
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
	if err == nil {
		err = s.resize(sizes{c.LimitSource.IPv4Bits, c.LimitSource.IPv6Bits})
	}
	if err != nil {
		return Sight{}, err
	}
	var counting count
	if c.Counts() {
		counting.begin(s.counter)
	}
	r, err := s.take(ctx, census.Options{
		Namespace: s.namespace, Sample: c.Census.Sample, CPU: c.Census.CPU,
		IPv4Bits: s.sizes.ipv4, IPv6Bits: s.sizes.ipv6,
	})
	if err != nil {
		return Sight{}, err
	}
	s.id = id
	seen := Sight{Census: r.Policy()}
	switch {
	case !c.Counts():
		seen.Uncounted = s.Rest()
	case s.counter != nil || families(&r) != 0: // of an empty table there is nothing to count
		seen.Uncounted = s.count(ctx, &counting, &r, &seen.Census)
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

// resize forgets what is known of sources of other sizes.
func (s *Scout) resize(to sizes) error {
	if s.sizes == to {
		return nil
	}
	s.sizes, s.before = to, census.Report{}
	return s.Rest()
}

// count adds rates of new connections to a census.
func (s *Scout) count(ctx context.Context, of *count, r *census.Report, into *policy.Census) error {
	if err := s.ready(of, r); err != nil {
		return err
	}
	if err := of.finish(ctx, s.counter, s.apart); err != nil {
		if ctx.Err() == nil {
			err = errors.Join(err, s.Rest())
		}
		return err
	}
	of.rates(into)
	return nil
}

// ready has a counter for what is in the table, which has been read once.
func (s *Scout) ready(of *count, r *census.Report) (err error) {
	if has := families(r); s.families&has != has {
		if err := s.Rest(); err != nil {
			return err
		}
		if s.counter, err = s.install(has, s.sizes); err != nil {
			return err
		}
		s.families = has
		*of = count{}
		of.begin(s.counter)
	}
	if errors.Is(of.failed, fs.ErrNotExist) { // taken away by somebody: once more, next time
		return errors.Join(fmt.Errorf("somebody has removed it: %w", of.failed), s.Rest())
	}
	return of.failed
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
	s.counter, s.families, s.left = nil, 0, err != nil
	return err
}

// grown adds to a census how fast entries have become more. How evenly is not known, so
// what is steady is what is certain of all the time between the two.
func grown(c *policy.Census, growth []census.Growth) {
	for _, g := range growth {
		for i := range c.Sources {
			if c.Sources[i].Prefix == g.Prefix {
				c.Sources[i].New, c.Sources[i].Steady = max(g.Rate, 0), g.Low
			}
		}
	}
}
