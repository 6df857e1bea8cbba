package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clients are well-behaved: each connection is new, comes from an address of its
// own, says something, waits for the echo and closes in order, so that it leaves
// a TIME_WAIT as real ones do. They neither reset (SO_LINGER 0) nor run out of
// ports, unless a few addresses are to make hundreds of connections a second.
type Clients struct {
	TCP      int           // new connections per second
	UDP      int           // exchanges per second
	Way      Way           // from which addresses to what; each connection from the next
	Deadline time.Duration // not connected and echoed by then is failed; 0 is DefaultDeadline
}

const (
	// DefaultDeadline is within a person's patience, and leaves a connection its
	// first retransmission (1 s, RFC 6298).
	DefaultDeadline = 2 * time.Second
	// SlowAfter is more than any delay on the lab's links, and less than the
	// retransmission timer: what takes longer has lost a packet.
	SlowAfter = 500 * time.Millisecond
	// udpRetry is when an exchange asks again.
	udpRetry = time.Second
)

// A Load is clients at work.
type Load struct {
	g        *Gateway
	way      Way
	ctx      context.Context // of the attempts; that of the pacers ends with Stop
	deadline time.Duration
	start    time.Time
	cancel   context.CancelFunc
	pacers   sync.WaitGroup
	open     sync.WaitGroup // attempts under way

	source            atomic.Uint32
	attempted, failed atomic.Int64

	mu  sync.Mutex
	tcp tally
	udp tally
	err error
}

// StartClients lets clients loose on a gateway until Stop, which waits for the
// attempts under way, or the end of the context, which ends them too.
func (g *Gateway) StartClients(ctx context.Context, c Clients) *Load {
	pacing, cancel := context.WithCancel(ctx)
	l := &Load{g: g, ctx: ctx, start: time.Now(), cancel: cancel}
	l.deadline = cmp.Or(c.Deadline, DefaultDeadline)
	if l.way, l.err = g.resolve(c.Way); l.err != nil {
		return l
	}
	for _, k := range []struct {
		rate, kind int
		to         *tally
	}{{c.TCP, unix.SOCK_STREAM, &l.tcp}, {c.UDP, unix.SOCK_DGRAM, &l.udp}} {
		if k.rate > 0 {
			l.pacers.Go(func() { l.fail(g.Client.Do(func() error { return l.pace(pacing, k.rate, k.kind, k.to) })) })
		}
	}
	return l
}

// Progress is how many attempts were begun and how many have failed so far.
func (l *Load) Progress() (attempted, failed int64) {
	return l.attempted.Load(), l.failed.Load()
}

// Stop begins no more attempts, waits for those under way and counts. The error
// is the lab's own failing, not a client's.
func (l *Load) Stop() (ClientReport, error) {
	l.cancel()
	l.pacers.Wait()
	l.open.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return ClientReport{TCP: l.tcp.count(), UDP: l.udp.count()}, l.err
}

// pace begins attempts at a rate. It runs on a thread in the client's namespace,
// where it opens the sockets; each attempt then goes its own way.
func (l *Load) pace(ctx context.Context, rate, kind int, to *tally) error {
	p := pacer{rate: float64(rate), start: l.start}
	for ctx.Err() == nil {
		for range p.due(time.Now(), rate) {
			if err := l.begin(kind, to); err != nil {
				return err
			}
		}
		sleep(ctx, max(time.Millisecond, time.Second/time.Duration(4*rate)))
	}
	return nil
}

// begin opens a socket and starts an attempt on it.
func (l *Load) begin(kind int, to *tally) error {
	n := l.source.Add(1) - 1
	began := time.Now()
	c, err := openClient(kind, &l.way, n)
	if err != nil {
		return fmt.Errorf("open a client's socket: %w", err)
	}
	l.attempted.Add(1)
	l.open.Go(func() {
		err := recovered(func() error { return c.exchange(l.ctx, n, began.Add(l.deadline)) })
		took := time.Since(began)
		if err != nil {
			l.failed.Add(1)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		to.add(attempt{began: began.Sub(l.start), took: took, failed: err != nil})
		if errors.Is(err, errEcho) {
			l.err = errors.Join(l.err, err)
		}
	})
	return nil
}

func (l *Load) fail(err error) {
	if err != nil {
		l.mu.Lock()
		l.err = errors.Join(l.err, err)
		l.mu.Unlock()
	}
}
