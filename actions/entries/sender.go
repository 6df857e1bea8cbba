package entries

import (
	"context"
	"runtime"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// A load is changes that are sent together, and what became of them.
type load struct {
	batch           *ctnetlink.Batch
	deletes, remade tally
	since           time.Duration // of the first, on the boot clock
	sent            ctnetlink.Sent
	err             error
	cpu             time.Duration // of another thread than the walker's
}

// send sends the load.
func (l *load) send(ctx context.Context) { l.sent, l.err = l.batch.Send(ctx) }

// loads are how many there are when they are sent beside: one is filled, one is on the
// way, and one spares either a wait.
const loads = 3

// A sender sends loads: at once, or on a thread of its own beside the reading.
type sender struct {
	all        []*load
	full, free chan *load // nil if it sends at once
	ended      chan struct{}
}

// newSender opens the batches in the calling thread's namespace.
func newSender(ctx context.Context, beside bool) (*sender, error) {
	s := &sender{}
	n := 1
	if beside {
		n = loads
	}
	for range n {
		batch, err := ctnetlink.OpenBatch()
		if err != nil {
			s.close()
			return nil, err
		}
		s.all = append(s.all, &load{batch: batch})
	}
	if beside {
		s.start(ctx)
	}
	return s, nil
}

// start starts the thread. The batches are in the right namespace whichever uses them.
func (s *sender) start(ctx context.Context) {
	s.full, s.free, s.ended = make(chan *load, loads), make(chan *load, loads), make(chan struct{})
	for _, l := range s.all[1:] {
		s.free <- l
	}
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // what it uses is counted
		defer runtime.UnlockOSThread()
		used := threadTime()
		for l := range s.full {
			l.send(ctx)
			now := threadTime()
			l.cpu, used = now-used, now
			s.free <- l
		}
	}()
}

// first is the load to begin with.
func (s *sender) first() *load { return s.all[0] }

// next sends a load and returns one to fill, whose own sending has come to an end.
func (s *sender) next(ctx context.Context, l *load) *load {
	if s.full == nil {
		l.send(ctx)
		return l
	}
	s.full <- l
	return <-s.free
}

// end waits for what is on the way.
func (s *sender) end() {
	if s.full != nil {
		close(s.full)
		<-s.ended
		s.full = nil
	}
}

// close closes the batches: what is in them was sent, or is not to be.
func (s *sender) close() {
	s.end()
	for _, l := range s.all {
		_ = l.batch.Close()
	}
}
