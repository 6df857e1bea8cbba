package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
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
	// TimedWait: the whole handshake, and the whole close: the server's FIN, the
	// client's, and its acknowledgement. The entry is assured and stays in TIME_WAIT
	// until its timeout; nothing will ever refresh it but a SYN that opens the
	// connection again.
	TimedWait Pattern = "time-wait"
	// UDP: a datagram that nobody answers. The entry stays unreplied, and dies
	// udp_timeout later without ever seeing another packet.
	UDP Pattern = "udp"
	// UDPReplied: a datagram and its answer, as a resolver has it. The entry has
	// seen both directions but is not assured, which takes traffic for two seconds
	// (nf_conntrack_udp_packet).
	UDPReplied Pattern = "udp-replied"
)

// Patterns are all of them.
var Patterns = []Pattern{HalfOpen, Assured, TimedWait, UDP, UDPReplied}

func (p Pattern) isUDP() bool { return p == UDP || p == UDPReplied }

func (p Pattern) answered() bool { return p != HalfOpen && p != UDP }

// A Flood is a number of new flows.
type Flood struct {
	Pattern Pattern
	Rate    int           // new flows per second; 0 is as fast as it goes
	Count   int           // ends after this many flows; 0 is without limit
	For     time.Duration // ends after this long; 0 is without limit

	// Sources are the client addresses that the flows come from, in turn; of IPv6, the
	// /64s, of which they come from random addresses. 0 is 256 of IPv4, and one /64.
	Sources int
	// From is the first of the sources, and then 0 Sources are one: of 10.78.0.0/16
	// or fd78::/48, where only floods come from, else of the well-behaved clients' nets
	// if nobody answers.
	From netip.Addr
	IPv6 bool // From says so as well

	// Tuples is how many flows differ: then the same come again, as they came first,
	// also in another flood that is told the same. 0 is all of them, for as long as
	// there are tuples. A SYN for a connection in TIME_WAIT opens it again, with a new
	// entry.
	Tuples int
}

// A FloodReport says what a flood came to.
type FloodReport struct {
	Pattern   Pattern       `json:"pattern"`
	Sent      int64         `json:"sent"`      // flows: first packets that the link took
	Completed int64         `json:"completed"` // flows that were answered; of TCP: whose SYN-ACK came back and was acknowledged
	Closed    int64         `json:"closed"`    // flows whose FINs both came through and were acknowledged
	Took      time.Duration `json:"took_ns"`   // of the sending
	Rate      float64       `json:"rate"`      // flows sent per second
}

// Flood sends new flows through the gateway, and returns when they are sent or
// the context ends, which is not an error.
func (g *Gateway) Flood(ctx context.Context, f Flood) (r FloodReport, err error) {
	r.Pattern = f.Pattern
	if f, err = f.resolved(); err != nil {
		return r, err
	}
	if f.IPv6 && !g.ipv6 {
		return r, fmt.Errorf("flood: %w", errNoIPv6)
	}
	var met milestones
	stop, err := respond(g.responders(f.Pattern, f.layout(), &met))
	if err != nil {
		return r, err
	}
	err = recovered(func() error { return g.send(ctx, f, &r) })
	if last := met.last(f.Pattern); last != nil {
		settle(ctx, last, r.Sent)
	}
	err = errors.Join(err, stop())
	r.Completed, r.Closed = met.completed.Load(), met.closed.Load()
	return r, err
}

// send is the sending side of a flood.
func (g *Gateway) send(ctx context.Context, f Flood, r *FloodReport) error {
	l := f.layout()
	s, err := openPacket(g.Client, l.etherType, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	batch := newFrames(l)
	for i := range batch.bytes {
		l.putFirst(batch.bytes[i][:], f.Pattern, clientMAC, lanMAC)
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
			number := f.number(first + uint64(i))
			l.putFlow(batch.bytes[i][:], number, f.source(number))
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
