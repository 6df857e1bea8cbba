package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// A Run is one of the two.
type Run struct {
	Clients lab.ClientReport `json:"clients"`
	Flood   lab.FloodReport  `json:"flood"`
	Samples []Sample         `json:"samples"`
	Moves   []Move           `json:"moves"` // of nf_conntrack_max
}

// A Result is both runs and the verdict.
type Result struct {
	Max       int             `json:"max"`
	Unguarded Run             `json:"unguarded"`
	Guarded   Run             `json:"guarded"`
	Changes   []ledger.Change `json:"changes"`  // the guardian's own account
	Sizes     *lab.Release    `json:"sizes"`    // the machine's values at the end
	Left      []string        `json:"left"`     // of the lab; nothing if all is well
	Took      time.Duration   `json:"took_ns"`  // of everything
	Problems  []string        `json:"problems"` // why the demonstration failed; none if it did not
}

// Show gives the demonstration and judges it. The error is why it could not be
// given; then the result is what there was until then. In every case everything
// is put back before it returns.
func Show(ctx context.Context, c Config) (r Result, err error) {
	if err := c.Check(); err != nil {
		return r, err
	}
	r.Max, r.Problems = c.Max, []string{}
	start := time.Now()
	defer func() { r.Took = time.Since(start) }()
	err = withMax(ctx, c.Max, &r.Sizes, func(hold *lab.MaxHold) error {
		if r.Unguarded, err = c.unguarded(ctx); err != nil {
			return fmt.Errorf("run without the guardian: %w", err)
		}
		if err := hold.Set(c.Max); err != nil {
			return err
		}
		if r.Guarded, r.Changes, err = c.guarded(ctx); err != nil {
			return fmt.Errorf("run with the guardian: %w", err)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if r.Left, err = lab.Left(); err != nil {
		return r, err
	}
	r.judge()
	return r, nil
}

// withMax runs fn with the machine's max lowered and puts it back whatever fn
// does.
func withMax(ctx context.Context, max int, after **lab.Release, fn func(*lab.MaxHold) error) (err error) {
	hold, err := lab.Lower(ctx, max)
	if err != nil {
		return err
	}
	defer func() {
		released, undo := hold.Release()
		*after = &released
		err = errors.Join(err, undo)
	}()
	return fn(hold)
}

func (c Config) unguarded(ctx context.Context) (r Run, err error) {
	return r, c.withGateway(func(g *lab.Gateway) error {
		r, err = c.incident(ctx, g, "without", nil)
		return err
	})
}

func (c Config) guarded(ctx context.Context) (r Run, changes []ledger.Change, err error) {
	dir, err := lab.NewDir()
	if err != nil {
		return r, nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	err = c.withGateway(func(g *lab.Gateway) (err error) {
		d, err := startGuardian(ctx, c.Guardian, dir.Path, c.policy(g.Router.Path()))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		if r, err = c.incident(ctx, g, "with", c.untilLowered); err != nil {
			return err
		}
		if err := d.stop(); err != nil {
			return err
		}
		changes, err = d.changes(ctx)
		return err
	})
	return r, changes, err
}

func (c Config) withGateway(fn func(*lab.Gateway) error) (err error) {
	g, err := lab.NewGateway(lab.Options{
		Timeouts: map[string]int{"tcp_timeout_established": c.established()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	return fn(g)
}

// incident is the run itself: quiet, flood, top and what comes after. The
// clients work through all of it.
func (c Config) incident(ctx context.Context, g *lab.Gateway, name string,
	after func(context.Context, *lab.Gateway, *watch) error,
) (r Run, err error) {
	load := g.StartClients(ctx, lab.Clients{TCP: c.TCP, UDP: c.UDP})
	w := &watch{gateway: g, load: load, name: name, phase: "quiet", report: c.Progress}
	w.begin(ctx)
	err = c.phases(ctx, g, w, &r.Flood, after)
	w.enter("last answers")
	var lost, blind error
	r.Clients, lost = load.Stop()
	r.Samples, blind = w.end()
	r.Moves = moves(r.Samples)
	return r, errors.Join(err, lost, blind)
}

func (c Config) phases(ctx context.Context, g *lab.Gateway, w *watch, flood *lab.FloodReport,
	after func(context.Context, *lab.Gateway, *watch) error,
) (err error) {
	if err := pause(ctx, c.Before); err != nil {
		return err
	}
	w.enter("flood")
	*flood, err = g.Flood(ctx, lab.Flood{
		Pattern: lab.Assured, Rate: c.Rate, Count: c.flows(), For: 2 * c.flood(),
	})
	if err != nil {
		return err
	}
	w.enter("top")
	if err := pause(ctx, c.Top); err != nil || after == nil {
		return err
	}
	return after(ctx, g, w)
}

// untilLowered waits until the flood's entries have expired and max is lowered
// again, or should have been. The lab walks the table meanwhile: that frees the
// expired, for which the kernel's gc would take up to a minute.
func (c Config) untilLowered(ctx context.Context, g *lab.Gateway, w *watch) error {
	if w.now().Max == c.Max {
		return nil // it was not raised, so there is nothing to wait for
	}
	w.enter("flows end")
	patience := time.Now().Add(time.Duration(c.established())*time.Second + 25*time.Second)
	for w.now().Max != c.Max && time.Now().Before(patience) {
		if _, err := g.Reap(ctx); err != nil {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	w.enter("quiet again")
	return pause(ctx, time.Second)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
