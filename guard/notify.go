package guard

import (
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusEvery is the least time between two STATUS= texts: people read them.
const statusEvery = 2 * time.Second

// A Notifier tells the service manager how the daemon is. Without NOTIFY_SOCKET
// it says nothing. The zero value is not for use; see NewNotifier.
type Notifier struct {
	send     func(string) bool // one sd_notify(3) datagram; false: it was dropped
	watchdog time.Duration     // WATCHDOG=1 is due this often, 0 for never
	ready    bool
	petted   time.Duration // boot clock of the last WATCHDOG=1
	told     time.Duration // boot clock of the last STATUS=
	status   string
}

// NewNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
func NewNotifier() (*Notifier, error) {
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, err
	}
	// A quarter of the timeout leaves room for three ticks that come late.
	return &Notifier{watchdog: timeout / 4, send: patiently(func(state string) {
		// There is nobody to tell when the service manager can't be told.
		_, _ = daemon.SdNotify(false, state)
	})}, nil
}

// hearing is how long the service manager may take to receive a datagram.
const hearing = 250 * time.Millisecond

// patiently has send called so that a service manager that does not listen, whose queue
// is full, holds nobody up for longer: as long as one state is on its way others are
// dropped.
func patiently(send func(string)) func(string) bool {
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	return func(state string) bool {
		select {
		case <-idle:
		default:
			return false
		}
		sent := make(chan struct{})
		go func() {
			send(state)
			idle <- struct{}{}
			close(sent)
		}()
		select {
		case <-sent:
		case <-time.After(hearing):
		}
		return true
	}
}

// ticked reports a tick. Only a complete one makes the service ready and feeds
// the watchdog: a loop that runs without reading is no guard.
func (n *Notifier) ticked(complete bool, status func() string, now time.Duration) {
	if complete && (!n.ready || n.watchdog > 0 && now-n.petted >= n.watchdog) {
		n.send("WATCHDOG=1")
		n.petted = now
	}
	first := complete && !n.ready
	if !first && now-n.told < statusEvery {
		return
	}
	n.told = now
	// A line is an assignment in sd_notify(3).
	text := strings.ReplaceAll(status(), "\n", "; ")
	switch {
	case first:
		n.ready = n.send("READY=1\nSTATUS=" + text) // or with the next tick
	case text != n.status:
		n.send("STATUS=" + text)
	}
	n.status = text
}

// within shortens a pause that would let the watchdog starve.
func (n *Notifier) within(pause time.Duration) time.Duration {
	if n.watchdog == 0 {
		return pause
	}
	return min(pause, n.watchdog)
}

// reloading reports that a reload begins. The stamp is what systemd compares
// with the time at which it sent the signal.
// A service that is still starting is not reloading.
func (n *Notifier) reloading() {
	if n.ready {
		n.send("RELOADING=1\n" + daemon.SdNotifyMonotonicUsec())
	}
}

// reloaded reports that a reload is over, whatever came of it.
func (n *Notifier) reloaded() {
	if n.ready {
		n.send("READY=1")
	}
}

func (n *Notifier) stopping() { n.send("STOPPING=1") }
