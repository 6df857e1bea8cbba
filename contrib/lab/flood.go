package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A Pattern is what the entries of a flood become.
type Pattern string

// The patterns.
const (
	// HalfOpen: a SYN that nobody answers. The entry stays SYN_SENT and
	// unassured, the kernel may evict it when the table is full.
	HalfOpen Pattern = "half-open"
	// Assured: the whole handshake. SYN-ACK and ACK come from responders on both
	// sides that keep no state. The entry is ESTABLISHED and assured, and stays
	// until its timeout.
	Assured Pattern = "assured"
	// UDP: a datagram that nobody answers. The entry stays unreplied, and dies
	// udp_timeout later without ever seeing another packet.
	UDP Pattern = "udp"
	// UDPReplied: a datagram and its answer, as a resolver has it. The entry has
	// seen both directions but is not assured, which takes traffic for two seconds
	// (nf_conntrack_udp_packet).
	UDPReplied Pattern = "udp-replied"
)

// Patterns are all of them.
var Patterns = []Pattern{HalfOpen, Assured, UDP, UDPReplied}

func (p Pattern) isUDP() bool { return p == UDP || p == UDPReplied }

func (p Pattern) completes() bool { return p == Assured || p == UDPReplied }

// A Flood is a number of new flows.
type Flood struct {
	Pattern Pattern
	Rate    int           // new flows per second; 0 is as fast as it goes
	Count   int           // ends after this many flows; 0 is without limit
	For     time.Duration // ends after this long; 0 is without limit
	Sources int           // client addresses the flows come from; 0 is 256
}

// A FloodReport says what a flood came to.
type FloodReport struct {
	Pattern   Pattern       `json:"pattern"`
	Sent      int64         `json:"sent"`      // flows: first packets that the link took
	Completed int64         `json:"completed"` // flows that were answered; of TCP: whose SYN-ACK came back and was acknowledged
	Took      time.Duration `json:"took_ns"`   // of the sending
	Rate      float64       `json:"rate"`      // flows sent per second
}

// Flood sends new flows through the gateway, and returns when they are sent or
// the context ends, which is not an error.
func (g *Gateway) Flood(ctx context.Context, f Flood) (r FloodReport, err error) {
	r.Pattern = f.Pattern
	if f.Sources == 0 {
		f.Sources = 256
	}
	if !slices.Contains(Patterns, f.Pattern) {
		return r, fmt.Errorf("flood: no pattern %q", f.Pattern)
	}
	var completed atomic.Int64
	stop, err := respond(g.responders(f.Pattern, &completed))
	if err != nil {
		return r, err
	}
	err = recovered(func() error { return g.send(ctx, f, &r) })
	if f.Pattern.completes() {
		settle(ctx, &completed, r.Sent)
	}
	err = errors.Join(err, stop())
	r.Completed = completed.Load()
	return r, err
}

// send is the sending side of a flood.
func (g *Gateway) send(ctx context.Context, f Flood, r *FloodReport) error {
	s, err := openPacket(g.Client, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	batch := newFrames()
	for i := range batch.bytes {
		putFirst(batch.bytes[i][:], f.Pattern, clientMAC, lanMAC)
	}
	start := time.Now()
	defer func() {
		r.Took = time.Since(start)
		r.Rate = float64(r.Sent) / r.Took.Seconds()
	}()
	pace := pacer{rate: float64(f.Rate), start: start}
	for tried := 0; ctx.Err() == nil; {
		now := time.Now()
		if f.For > 0 && now.Sub(start) >= f.For || f.Count > 0 && tried >= f.Count {
			return nil
		}
		n := frameBatch
		if f.Count > 0 {
			n = min(n, f.Count-tried)
		}
		if n = pace.due(now, n); n == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		first := g.flows.Add(uint64(n)) - uint64(n)
		for i := range n {
			putFlow(batch.bytes[i][:], first+uint64(i), uint64(f.Sources))
		}
		sent, err := s.send(batch, n)
		r.Sent += int64(sent)
		tried += n
		if err != nil {
			return err
		}
	}
	return nil
}

// A responder answers what comes to one side of the gateway.
type responder struct {
	at       *Namespace
	filter   []unix.SockFilter
	answered *atomic.Int64 // nil is not counted
}

// responders are those that a pattern needs. A handshake needs both sides; an
// answer to a datagram asks for no other.
func (g *Gateway) responders(p Pattern, completed *atomic.Int64) []responder {
	switch p {
	case Assured:
		return []responder{
			{g.Server, segments(targetNet, flagSYN), nil},
			{g.Client, segments(floodNet, flagSYN|flagACK), completed},
		}
	case UDPReplied:
		return []responder{{g.Server, datagrams(targetNet), completed}}
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
		s, err := openPacket(r.at, r.filter)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		group.Go(func() error {
			err := recovered(func() error { return s.respond(&done, r.answered) })
			return errors.Join(err, s.Close())
		})
	}
	return stop, nil
}

// respond answers every frame that passes the socket's filter until done.
func (s *packetSocket) respond(done *atomic.Bool, answered *atomic.Int64) error {
	batch := newFrames()
	for !done.Load() {
		n, err := s.receive(batch)
		if err != nil {
			return err
		}
		for i := range n {
			answer(batch.bytes[i][:])
		}
		sent, err := s.send(batch, n)
		if err != nil {
			return err
		}
		if answered != nil {
			answered.Add(int64(sent))
		}
		if n > 0 && n < frameBatch/4 {
			// Waking up for every frame would cost more than answering it.
			time.Sleep(500 * time.Microsecond)
		}
	}
	return nil
}

// settle waits until all flows are completed, or no more come.
func settle(ctx context.Context, completed *atomic.Int64, sent int64) {
	for before := int64(-1); ; {
		now := completed.Load()
		if now >= sent || now == before || !sleep(ctx, 2*packetWait) {
			return
		}
		before = now
	}
}
