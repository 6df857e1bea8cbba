package ctnetlink

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// answered is a Conn whose requests go nowhere and which receive answers.
func answered(t testing.TB, r receive) *Conn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn{fd: pair[0], port: port, seq: sequence - 1, buf: make([]byte, bufferSize), receive: r, patience: patience}
	t.Cleanup(func() { unix.Close(pair[1]); _ = c.Close() })
	return c
}

// A reception is what one receive returns.
type reception struct {
	datagram []byte
	sender   uint32
	err      error
}

// inTurn receives one after the other, and then nothing any more.
func inTurn(list ...reception) receive {
	return func(buf []byte) (int, uint32, error) {
		if len(list) == 0 {
			time.Sleep(tick)
			return 0, 0, unix.EAGAIN
		}
		r := list[0]
		list = list[1:]
		copy(buf, r.datagram)
		return len(r.datagram), r.sender, r.err
	}
}

func TestWalk(t *testing.T) {
	e := entry(flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443))
	end := reception{datagram: done()}
	for name, test := range map[string]struct {
		answers []reception
		read    int
		want    string
		is      error
	}{
		"empty":            {[]reception{end}, 0, "", nil},
		"two datagrams":    {[]reception{{datagram: slices.Concat(e, e)}, {datagram: slices.Concat(e, done())}}, 3, "", nil},
		"a signal":         {[]reception{{err: unix.EINTR}, {datagram: e}, {err: unix.EINTR}, {err: unix.EINTR}, end}, 1, "", nil},
		"slow":             {[]reception{{datagram: e}, {err: unix.EAGAIN}, {datagram: e}, {err: unix.EAGAIN}, end}, 2, "", nil},
		"somebody else":    {[]reception{{datagram: e, sender: 9}, {datagram: done(), sender: port}, {datagram: e}, end}, 1, "", nil},
		"somebody's flood": {[]reception{{datagram: make([]byte, bufferSize+1), sender: 9}, end}, 0, "", nil},
		"as large as fits": {[]reception{{datagram: answer(unix.NLMSG_NOOP, 0, make([]byte, bufferSize-unix.SizeofNlMsghdr))}, end}, 0, "", nil},
		"too large": {
			[]reception{{datagram: e}, {datagram: make([]byte, bufferSize+1)}, end},
			1, "a datagram of 32769 bytes is larger than the buffer of 32768", nil,
		},
		"no memory": {
			[]reception{{datagram: e}, {err: unix.ENOBUFS}, end},
			1, "the kernel has no memory for the next part of the dump: no buffer space available", unix.ENOBUFS,
		},
		"other error":        {[]reception{{err: unix.EBADF}}, 0, "recvmsg: bad file descriptor", unix.EBADF},
		"no end":             {[]reception{{datagram: e}}, 1, "the kernel is silent for 5s: i/o timeout", os.ErrDeadlineExceeded},
		"no answer":          {nil, 0, "the kernel is silent for 5s: i/o timeout", os.ErrDeadlineExceeded},
		"an empty datagram":  {[]reception{{datagram: e}, {}, end}, 1, "an empty datagram", nil},
		"an earlier answer":  {[]reception{{datagram: slices.Concat(done()[:8], errno(sequence-1), done()[12:])}, {datagram: e}, end}, 1, "", nil},
		"refused":            {[]reception{{datagram: answer(unix.NLMSG_DONE, 0, errno(-int32(unix.ENOMEM)))}}, 0, "the kernel reports: cannot allocate memory", unix.ENOMEM},
		"a malformed answer": {[]reception{{datagram: e[:20]}, end}, 0, "a message of 172 bytes where 20 are left", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := answered(t, inTurn(test.answers...))
				read, err := c.Walk(t.Context(), Query{}, func(*Entry) bool { return true }, nil)
				if test.want != "" {
					test.want = "read the conntrack table: " + test.want
				}
				text := ""
				if err != nil {
					text = err.Error()
				}
				if read != test.read || text != test.want || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("%d entries, %v, want %d, %q", read, err, test.read, test.want)
				}
				if closed := c.fd < 0; closed != (err != nil) {
					t.Errorf("closed: %v after %v", closed, err)
				}
			})
		})
	}
}

// Signals and strangers that never cease can't make a walk wait longer for the
// kernel than silence can.
func TestWalkIsPatientOnce(t *testing.T) {
	for name, r := range map[string]reception{
		"silence":   {err: unix.EAGAIN},
		"signals":   {err: unix.EINTR},
		"strangers": {datagram: done(), sender: 9},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := answered(t, func(buf []byte) (int, uint32, error) {
				time.Sleep(tick)
				return inTurn(r)(buf)
			})
			start := time.Now()
			_, err := c.Walk(t.Context(), Query{}, func(*Entry) bool { return true }, nil)
			if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < patience || took > patience+2*tick {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		})
	}
}

func TestWalkNoticesCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := answered(t, inTurn())
		why := errors.New("no longer wanted")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second/4, why)
		defer cancel()
		start := time.Now()
		_, err := c.Walk(ctx, Query{}, func(*Entry) bool { return true }, nil)
		if took := time.Since(start); !errors.Is(err, why) || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// A request is numbered anew for each walk, and an answer to an earlier one does
// not count.
func TestWalkSequence(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	c := &Conn{fd: pair[0], port: port, seq: sequence - 1, buf: make([]byte, bufferSize), patience: patience}
	defer c.Close()
	for n := range uint32(3) {
		c.receive = func(buf []byte) (int, uint32, error) {
			request := make([]byte, 100)
			size, err := unix.Read(pair[1], request)
			if err != nil {
				return 0, 0, err
			}
			h, body, rest, err := cutMessage(request[:size])
			want := header{ctGet, unix.NLM_F_REQUEST | unix.NLM_F_DUMP, sequence + n, 0}
			if err != nil || h != want || len(body) != nfgenmsg || len(rest) != 0 {
				t.Errorf("request %+v, want %+v, body %x, rest %x, %v", h, want, body, rest, err)
			}
			return copy(buf, slices.Concat(done()[:8], errno(int32(sequence+n)), done()[12:])), 0, nil
		}
		if _, err := c.Walk(t.Context(), Query{}, func(*Entry) bool { return true }, nil); err != nil {
			t.Error(err)
		}
	}
}

// A real socket that nobody answers. It needs no privilege.
func TestNextOnSilentSocket(t *testing.T) {
	c := open(t)
	c.patience = tick / 2
	start := time.Now()
	_, err := c.next(t.Context())
	if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < tick/2 || took > 5*tick {
		t.Errorf("%v after %v", err, took)
	}
	c.patience = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), tick/10)
	defer cancel()
	start = time.Now()
	_, err = c.next(ctx)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 5*tick {
		t.Errorf("%v after %v", err, took)
	}
}

func TestClosed(t *testing.T) {
	c := open(t)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := c.Walk(t.Context(), Query{}, func(*Entry) bool { return true }, nil)
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("walk: %v", err)
	}
	if _, _, err := c.Discard(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("discard: %v", err)
	}
}

// An error of between is returned as it is, and the walk is over.
func TestWalkBetween(t *testing.T) {
	e := entry(flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443))
	enough := errors.New("enough")
	c := answered(t, inTurn(reception{datagram: e}, reception{datagram: slices.Concat(e, e)}, reception{datagram: e}))
	var told []int
	read, err := c.Walk(t.Context(), Query{}, func(*Entry) bool { return true }, func(n int) error {
		told = append(told, n)
		if n == 3 {
			return enough
		}
		return nil
	})
	if err != enough || read != 3 || !slices.Equal(told, []int{1, 3}) {
		t.Errorf("%d entries, %v, told %v", read, err, told)
	}
}

// A query that can't be is refused before anything is sent, and costs nothing.
func TestWalkRefusesQuery(t *testing.T) {
	c := answered(t, inTurn(reception{datagram: done()}))
	if _, err := c.Walk(t.Context(), Query{Family: 99}, nil, nil); err == nil || !strings.Contains(err.Error(), "family 99") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Walk(t.Context(), Query{}, nil, nil); err != nil {
		t.Errorf("after it: %v", err)
	}
}
