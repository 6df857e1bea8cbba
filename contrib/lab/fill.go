package lab

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Entries describes entries to be made: how many and what they are like.
type Entries struct {
	Count   int           `json:"count"`
	Proto   uint8         `json:"proto"` // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	State   uint8         `json:"state"` // TCP only: TCP_CONNTRACK_*, 3 is ESTABLISHED
	Assured bool          `json:"assured"`
	Timeout time.Duration `json:"timeout"` // until they expire, whole seconds
	Sources int           `json:"sources"` // addresses they come from; 0 is one
}

// TCP states of an entry, nf_conntrack_tcp.h.
const (
	SynSent     uint8 = 1
	SynRecv     uint8 = 2
	Established uint8 = 3
	FinWait     uint8 = 4
	CloseWait   uint8 = 5
	LastAck     uint8 = 6
	TimeWait    uint8 = 7
	Closed      uint8 = 8
)

// A FillReport says what a fill came to. Created and the errors add up to what
// was asked, unless the context ended it.
type FillReport struct {
	Created int                   `json:"created"`
	Errors  map[syscall.Errno]int `json:"-"`
	Failed  map[string]int        `json:"failed"` // Errors by name, "ENOMEM": the table is full
	Took    time.Duration         `json:"took_ns"`
	Rate    float64               `json:"rate"` // entries per second
}

// fillBatch is how many messages go into one sendmsg, fillMessage their greatest
// size.
const (
	fillBatch   = 512
	fillMessage = 256
)

// Fill makes entries in the gateway's table by ctnetlink, without traffic and
// without translation. Each has a tuple that no other fill of this gateway made.
func (g *Gateway) Fill(ctx context.Context, mix ...Entries) (FillReport, error) {
	r := FillReport{Errors: map[syscall.Errno]int{}, Failed: map[string]int{}}
	s, err := openCT(g.Router)
	if err != nil {
		return r, err
	}
	defer s.Close()
	start := time.Now()
	for _, e := range mix {
		if err = g.fill(ctx, s, e, &r); err != nil {
			break
		}
	}
	r.Took = time.Since(start)
	r.Rate = float64(r.Created) / r.Took.Seconds()
	for errno, n := range r.Errors {
		r.Failed[unix.ErrnoName(errno)] += n
	}
	return r, err
}

func (g *Gateway) fill(ctx context.Context, s *ctSocket, e Entries, r *FillReport) error {
	msg, err := newEntryMessage(e)
	if err != nil {
		return err
	}
	batch := make([]byte, 0, fillBatch*fillMessage)
	answers := make([]byte, 1<<16)
	for left := e.Count; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(left, fillBatch)
		first := g.filled.Add(uint64(n)) - uint64(n)
		batch = batch[:0]
		for i := range uint64(n) {
			msg.number(first + i)
			batch = append(batch, msg.bytes...)
		}
		if err := s.send(batch); err != nil {
			return fmt.Errorf("make entries in %s: %w", g.Router.Name, err)
		}
		failed, err := s.drain(answers, r.Errors)
		if err != nil {
			return err
		}
		r.Created += n - failed
		left -= n
	}
	return nil
}

// drain reads the errors of a batch, which are all there when send has returned:
// the kernel answers while it takes the messages. Success is not answered.
func (s *ctSocket) drain(buf []byte, errs map[syscall.Errno]int) (failed int, err error) {
	for {
		b, err := s.receive(buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return failed, nil
		}
		if err != nil {
			return failed, fmt.Errorf("read the errors of a batch: %w", err)
		}
		err = messages(b, func(kind uint16, body []byte) error {
			if kind == unix.NLMSG_ERROR && nlErrno(body) != 0 {
				errs[nlErrno(body)]++
				failed++
			}
			return nil
		})
		if err != nil {
			return failed, err
		}
	}
}
