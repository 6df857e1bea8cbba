package census

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// Options say which census to take. The zero value is a full one of the calling
// thread's namespace, as fast as it goes.
type Options struct {
	// Namespace is the path of the network namespace, empty for our own.
	Namespace string
	// Sample is how many entries to read, the first of the hash table; 0 is all.
	Sample int
	// CPU is the share of one CPU that the census may take, kernel and user
	// together. 0 and 1 are all it can use.
	CPU float64
	// Source, if it is valid, is where the entries come from that are counted:
	// the drill-down. Such a census is always full, Sample or not: how many
	// entries there are of a source is not known before all are seen, so there is
	// nothing that a sample could be scaled to. The kernel looks for a single IPv4
	// address itself, which takes a fraction of a whole dump; all others are picked
	// from those of their family.
	Source netip.Prefix
	// IPv4Bits and IPv6Bits are how long a prefix one source is; 0 is 32 and 64.
	IPv4Bits, IPv6Bits int
	// Progress, if there is one, is called now and then with the entries received
	// and how many the table holds. It must not change its thread.
	Progress func(read, table int)
}

// ErrResized is that the hash table was given another size during the census. The
// dump then misses entries, and nothing in it tells.
var ErrResized = errors.New("nf_conntrack_buckets changed during the census, which loses entries")

// attempts is how often a census is begun.
const attempts = 4

// Take takes a census. When the hash table is resized meanwhile it begins anew,
// three times at most, and gives up with ErrResized.
//
// A dump removes expired entries as it meets them: nf_conntrack_count, which
// counts those too, falls.
func Take(ctx context.Context, options Options) (r Report, err error) {
	if err := options.check(); err != nil {
		return r, err
	}
	err = netns.Do(options.Namespace, func() error {
		// What this thread uses is what the census uses.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r, err = take(ctx, options)
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("take a census: %w", err)
	}
	return r, nil
}

func (o *Options) check() error {
	switch {
	case o.Sample < 0:
		return fmt.Errorf("take a census: a sample of %d entries", o.Sample)
	case o.Source.Addr().Is4In6():
		return fmt.Errorf("take a census of %s: write it as an IPv4 prefix", o.Source)
	}
	if err := errors.Join(checkCPU(o.CPU), checkBits(o.IPv4Bits, o.IPv6Bits)); err != nil {
		return fmt.Errorf("take a census: %w", err)
	}
	return nil
}

// take takes the census of the calling thread's namespace.
func take(ctx context.Context, options Options) (Report, error) {
	t, err := timeout.Read()
	if err != nil {
		return Report{}, err
	}
	began := start()
	tally := newTally(t)
	tally.networks = newNetworks(options.IPv4Bits, options.IPv6Bits)
	for attempt := 1; ; attempt++ {
		c, err := begin(options, tally, began)
		if err != nil {
			return Report{}, err
		}
		err = c.walk(ctx)
		if err == nil {
			return c.report(), nil
		}
		if !errors.Is(err, ErrResized) || attempt == attempts {
			return Report{}, err
		}
	}
}

// A run is one attempt at a census.
type run struct {
	options Options
	tally   *tally
	meter   meter
	at      time.Duration
	wall    time.Time
	table   table
	size    size

	received int  // entries, those of other sources included
	beyond   bool // there are more than the sample
	receives int
}

// begin reads what the figures rest on.
func begin(options Options, tally *tally, began meter) (*run, error) {
	table, err := readTable()
	if err != nil {
		return nil, err
	}
	if options.Source.IsValid() {
		options.Sample, options.Source = 0, options.Source.Masked()
	}
	tally.reset()
	return &run{options: options, tally: tally, meter: began, at: boot.Now(), wall: time.Now().Round(0), table: table}, nil
}

// walk reads the table. It returns ErrResized if the table was not the same
// throughout, whatever else went wrong.
func (r *run) walk(ctx context.Context) (err error) {
	if r.size, err = watchSize(); err != nil {
		return err
	}
	defer r.size.Close()
	r.size.was = r.table.buckets // what the figures rest on
	conn, err := ctnetlink.Open()
	if err != nil {
		return err
	}
	defer conn.Close() // only read
	r.received, err = conn.Walk(ctx, r.query(), r.each(), func(read int) error { return r.between(ctx, read) })
	if resized := r.size.check(); resized != nil {
		return resized
	}
	if err == nil && r.beyond {
		r.received-- // the one beyond
		return r.outgrown()
	}
	return err
}

// outgrown counts the table again if more entries were read than it held when the
// sample was begun.
func (r *run) outgrown() error {
	if r.received < r.table.count {
		return nil
	}
	now, err := readTable()
	r.table.count = max(now.count, r.received+1)
	return err
}

// query is what the kernel is asked for.
func (r *run) query() (q ctnetlink.Query) {
	source := r.options.Source
	if !source.IsValid() {
		return q
	}
	if source.IsSingleIP() {
		q.Orig.Src = source.Addr()
	}
	q.Family = unix.AF_INET6
	if source.Addr().Is4() {
		q.Family = unix.AF_INET
	}
	return q
}

// each is what is done with every entry. It returns false at the first one beyond
// the sample: where there is none, all were read.
func (r *run) each() func(*ctnetlink.Entry) bool {
	source := r.options.Source
	if source.IsValid() {
		return func(e *ctnetlink.Entry) bool {
			if source.Contains(e.Orig.Src.Netip()) {
				r.tally.add(e)
			}
			return true
		}
	}
	return func(e *ctnetlink.Entry) bool {
		r.beyond = r.options.Sample > 0 && r.tally.read == r.options.Sample
		if !r.beyond {
			r.tally.add(e)
		}
		return !r.beyond
	}
}

// checkEvery is how many receives pass until the size is looked at again. That
// takes some microseconds; it spares the rest of a walk that is void.
const checkEvery = 16

// between is what is done between two receives.
func (r *run) between(ctx context.Context, read int) error {
	r.receives++
	if r.receives%checkEvery == 0 {
		if err := r.size.check(); err != nil {
			return err
		}
		if r.options.Progress != nil {
			r.options.Progress(read, max(r.table.count, read))
		}
	}
	return pause(ctx, r.meter.owes(r.options.CPU))
}

// report is what the run found.
func (r *run) report() Report {
	report := Report{At: r.at, Wall: r.wall, Max: r.table.max}
	if r.options.Source.IsValid() {
		report.Source = r.options.Source.String()
	}
	r.tally.fill(&report, r.scale())
	report.Read = r.received
	report.Took, report.CPU = r.meter.used()
	return report
}

// scale is what the counted entries stand for: themselves, if they are all, and
// otherwise what the kernel counted.
func (r *run) scale() scale {
	s := scale{read: r.tally.read, table: r.tally.read}
	if r.beyond {
		s.table = r.table.count
	}
	return s
}
