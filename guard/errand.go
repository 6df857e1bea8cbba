package guard

import "time"

// An errand is work beside the loop, which takes long: one thing at a time. The loop takes
// in what it came to when it is back.
type errand struct {
	back chan func() // nil when nothing is under way
}

// away reports whether work is under way.
func (e *errand) away() bool { return e.back != nil }

// send begins work on a goroutine of its own. What the work returns is called by the loop,
// which it must not touch before.
func (e *errand) send(work func() (takeIn func())) {
	back := make(chan func(), 1) // so that it never waits for the loop
	e.back = back
	go func() { back <- work() }()
}

// meet takes in what the work has come to, if it is back.
func (e *errand) meet() {
	select {
	case takeIn := <-e.back: // never, of a nil channel
		e.back = nil
		takeIn()
	default:
	}
}

// await waits for the work, but not for longer than that, and reports whether none is
// under way then. What takes in what it has come to is for the caller to call.
func (e *errand) await(patience time.Duration) (takeIn func(), none bool) {
	if e.back == nil {
		return func() {}, true
	}
	select {
	case takeIn = <-e.back:
		e.back = nil
		return takeIn, true
	case <-time.After(patience):
		return nil, false
	}
}
