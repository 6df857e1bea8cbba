package journald

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// patience is how long journald may take over an entry. journal.Send has no
// deadline, and blocks while journald's receive queue is full: for as long as
// journald is stopped or restarts, once other programs have filled the queue
// (net.unix.max_dgram_qlen, 512 entries under systemd).
const patience = 250 * time.Millisecond

var errStuck = errors.New("journald does not take the entry")

// wire sends entries one at a time and waits no longer than patience for any.
type wire struct {
	send  sendFunc
	turn  chan struct{} // holds a token while an entry is being sent
	stuck atomic.Bool   // an entry has used up its time; while it keeps the turn nobody waits
}

func newWire(send sendFunc) *wire {
	return &wire{send: send, turn: make(chan struct{}, 1)}
}

// deliver returns once journald has the entry, or else an error. While an
// earlier entry is stuck that is at once. vars must not be changed afterwards:
// an entry that was given up is still being sent.
func (w *wire) deliver(message string, p journal.Priority, vars map[string]string) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	if !w.take(timeout.C) {
		return errStuck
	}
	w.stuck.Store(false)
	sent := make(chan error, 1)
	go func() {
		defer func() { <-w.turn }()
		sent <- w.send(message, p, vars)
	}()
	select {
	case err := <-sent:
		return err
	case <-timeout.C:
		w.stuck.Store(true)
		return errStuck
	}
}

// take waits for the turn, but not for one who is stuck.
func (w *wire) take(timeout <-chan time.Time) bool {
	select {
	case w.turn <- struct{}{}:
		return true
	default:
	}
	if w.stuck.Load() {
		return false
	}
	select {
	case w.turn <- struct{}{}:
		return true
	case <-timeout:
		return false
	}
}
