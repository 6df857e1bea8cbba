package main

import (
	"context"
	"time"
)

// A topWatch takes one report after another.
type topWatch[R any] struct {
	every   time.Duration // from the beginning of one to that of the next
	take    func(context.Context) (R, error)
	show    func(now, before *R) error // before is nil the first time
	fail    func(error)                // a report failed and the watch goes on
	patient func(error) bool           // even the first one may fail like that
}

// run goes on until the context ends, which is no error. The first report must
// succeed, or else something is wrong that waiting does not mend. At least half
// the interval is left between two, so that a census which takes longer does not
// keep a CPU busy for good.
func (w *topWatch[R]) run(ctx context.Context) error {
	var before *R
	for {
		began := time.Now()
		r, err := w.take(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if err := w.show(&r, before); err != nil {
				return err
			}
			before = &r
		case before == nil && !w.patient(err):
			return err
		default:
			w.fail(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(w.every-time.Since(began), w.every/2)):
		}
	}
}
