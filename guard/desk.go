package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// A Desk is where operators are heard: from any goroutine, each asks the loop and waits
// for its answer between two readings. It is a control.Daemon. Make it with NewDesk.
type Desk struct{ asks chan func(*Guard) }

// NewDesk makes one for a Guard.
func NewDesk() *Desk { return &Desk{make(chan func(*Guard))} }

// heard is where the loop hears, nil for nowhere.
func (d *Desk) heard() <-chan func(*Guard) {
	if d == nil {
		return nil
	}
	return d.asks
}

// reply is what the loop answers.
type reply struct {
	answer *control.Answer
	err    error
}

// Status tells how things are.
func (d *Desk) Status(ctx context.Context) (*control.Status, error) {
	back := make(chan *control.Status, 1)
	if err := d.ask(ctx, func(g *Guard) { back <- g.status() }); err != nil {
		return nil, err
	}
	return <-back, nil // the loop has taken it
}

// Do carries out what an operator asks for.
func (d *Desk) Do(ctx context.Context, r control.Request) (*control.Answer, error) {
	back := make(chan reply, 1) // so that the loop never waits
	err := d.ask(ctx, func(g *Guard) {
		g.serve(ctx, r, func(a *control.Answer, err error) { back <- reply{a, err} })
	})
	if err != nil {
		return nil, err
	}
	select {
	case r := <-back:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask has the loop do something. It returns when the loop has.
func (d *Desk) ask(ctx context.Context, do func(*Guard)) error {
	done := make(chan struct{})
	select {
	case d.asks <- func(g *Guard) { defer close(done); do(g) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve carries out a request. The answer may come with a later reading; who has gone by
// then, which ends ctx, asks for nothing any more.
func (g *Guard) serve(ctx context.Context, r control.Request, answer func(*control.Answer, error)) {
	switch r.Verb {
	case control.Approve:
		g.approve(ctx, r, answer)
	case control.Rollback:
		g.rollBack(ctx, r, answer)
	case control.Reload:
		g.reloadFor(answer)
	case control.Pause:
		answer(g.pause(r))
	case control.Resume:
		answer(g.resume(r))
	default:
		answer(nil, fmt.Errorf("nobody knows how to %s", r.Verb))
	}
}

// wall is the wall-clock time of a moment on the boot clock.
func (g *Guard) wall(at time.Duration) time.Time {
	return time.Now().Add(at - g.Clock())
}
