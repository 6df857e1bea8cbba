package lab

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	fillMessage = 448
)

// Fill makes entries in the gateway's table by ctnetlink, without traffic. Each
// has a tuple that no other entry of this gateway's fills has, until they have
// used up tuplePorts source ports: then what is there already is an error of
// EEXIST. CountTruth says what a fill of which nothing failed comes to.
func (g *Gateway) Fill(ctx context.Context, mix ...Entries) (FillReport, error) {
	r := FillReport{Errors: map[syscall.Errno]int{}, Failed: map[string]int{}}
	todo, err := g.number(mix)
	if err != nil {
		return r, err
	}
	s, err := openCT(g.Router)
	if err != nil {
		return r, err
	}
	defer s.Close()
	start := time.Now()
	for _, e := range todo {
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

// number gives a mix its tuples, all of it or nothing.
func (g *Gateway) number(mix []Entries) ([]numbered, error) {
	g.fills.Lock()
	defer g.fills.Unlock()
	return g.filled.takeAll(mix)
}

func (g *Gateway) fill(ctx context.Context, s *ctSocket, e numbered, r *FillReport) error {
	msg := newEntryMessage(e)
	batch := make([]byte, 0, fillBatch*fillMessage)
	answers := make([]byte, 1<<16)
	for done := 0; done < e.Count; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(e.Count-done, fillBatch)
		batch = batch[:0]
		for i := range n {
			msg.become(e.at(done + i))
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
		done += n
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
