package lab

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// milestones are how many flows of a flood came how far.
type milestones struct{ completed, closed atomic.Int64 }

// last is the count of flows that came as far as the pattern goes, nil if nobody
// answers.
func (m *milestones) last(p Pattern) *atomic.Int64 {
	switch p {
	case Assured, UDPReplied:
		return &m.completed
	case TimedWait:
		return &m.closed
	}
	return nil
}

// A responder answers what comes to one side of the gateway.
type responder struct {
	at      *Namespace
	layout  *layout
	filter  []unix.SockFilter
	counted *atomic.Int64 // counts answers with flags; nil is not counted
	flags   uint8         // of TCP; 0 in a datagram
}

// responders are those that a pattern needs. Connections need both sides; an
// answer to a datagram asks for no other.
func (g *Gateway) responders(p Pattern, l *layout, met *milestones) []responder {
	switch p {
	case Assured:
		return []responder{
			{g.Server, l, l.segments(l.target, flagSYN), nil, 0},
			{g.Client, l, l.segments(l.flooders, flagSYN|flagACK), &met.completed, flagACK},
		}
	case TimedWait:
		return []responder{
			{g.Server, l, l.segments(l.target, flagSYN, flagACK, flagFIN|flagACK), &met.closed, flagACK},
			{g.Client, l, l.segments(l.flooders, flagSYN|flagACK, flagFIN|flagACK), &met.completed, flagACK},
		}
	case UDPReplied:
		return []responder{{g.Server, l, l.datagrams(l.target), &met.completed, 0}}
	}
	return nil
}

// respond starts responders. Stop ends them and says what went wrong.
func respond(all []responder) (stop func() error, err error) {
	var done atomic.Bool
	var group errgroup.Group
	stop = func() error {
		done.Store(true)
		return group.Wait()
	}
	for _, r := range all {
		s, err := openPacket(r.at, r.layout.etherType, r.filter)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		group.Go(func() error {
			err := recovered(func() error { return r.respond(s, &done) })
			return errors.Join(err, s.Close())
		})
	}
	return stop, nil
}

// respond answers every frame that passes the socket's filter until done.
func (r *responder) respond(s *packetSocket, done *atomic.Bool) error {
	batch := newFrames(r.layout)
	for !done.Load() {
		n, err := s.receive(batch)
		if err != nil {
			return err
		}
		for i := range n {
			r.layout.answer(batch.bytes[i][:])
		}
		_, err = s.send(batch, n)
		r.count(batch, n)
		if err != nil {
			return err
		}
		if n > 0 && n < frameBatch/4 {
			// Waking up for every frame would cost more than answering it.
			time.Sleep(500 * time.Microsecond)
		}
	}
	return nil
}

// count counts those of n answers that are to be and that the link took.
func (r *responder) count(f *frames, n int) {
	if r.counted == nil {
		return
	}
	counted := int64(0)
	for i := range n {
		if f.taken(i) && f.bytes[i][r.layout.transport+tcpFlags] == r.flags {
			counted++
		}
	}
	r.counted.Add(counted)
}

// settle waits until all flows have come as far as they go, or no more do.
func settle(ctx context.Context, arrived *atomic.Int64, sent int64) {
	for before := int64(-1); ; {
		now := arrived.Load()
		if now >= sent || now == before || !sleep(ctx, 2*packetWait) {
			return
		}
		before = now
	}
}
