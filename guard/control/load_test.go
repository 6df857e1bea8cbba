package control

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A loop ticks as the guard's does, and answers between two ticks.
type loop struct {
	asked  chan func()
	served atomic.Int64
	seen   []time.Duration // of the loop's goroutine
}

func newLoop(t *testing.T) *loop {
	l := &loop{asked: make(chan func())}
	go tick(t.Context(), func(d time.Duration) { l.seen = append(l.seen, d) }, l.asked)
	return l
}

func (l *loop) Status(ctx context.Context) (*Status, error) {
	back := make(chan *Status, 1)
	select {
	case l.asked <- func() { back <- &Status{Mode: "act"} }:
		l.served.Add(1)
		return <-back, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *loop) Do(context.Context, Request) (*Answer, error) { return &Answer{Message: "done"}, nil }

// periods are those since it was asked before.
func (l *loop) periods() periods {
	back := make(chan periods)
	l.asked <- func() {
		back <- periodsOf(l.seen)
		l.seen = nil
	}
	return <-back
}

// memory is what the heap holds once everything is collected, in bytes.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// besiege has another process attack the server while somebody who may command goes on
// asking, and checks that the loop ticks as before and memory is as before.
func besiege(t *testing.T, who *syscall.Credential, a Access, hands string) (refused uint64) {
	l := newLoop(t)
	s, logged := serving(t, l, a)
	c := Dial(s.path)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd := caller(t, who, "attack", s.path, hands)
	time.Sleep(time.Second)
	before, goroutines := memory(), runtime.NumGoroutine()
	calm, beside := l.periods(), newBystander(t)
	served, began := l.served.Load(), time.Now()
	text, err := cmd.Output()
	took := time.Since(began)
	siege, heard := l.periods(), beside.heard()
	if err != nil || strings.TrimSpace(string(text)) != "10000" {
		t.Fatalf("the attack: %v: %s", err, text)
	}
	time.Sleep(doneWith)
	after := memory()
	t.Logf("%d requests in %s, %d refused; %+d bytes; asked %d times\nperiods: %s\nbefore:  %s\nbeside:  %s",
		requests, took.Round(time.Millisecond), s.Refused(), after-before, l.served.Load()-served, siege, calm, heard)
	if siege.Half < period*9/10 || siege.Half > period*11/10 {
		t.Errorf("half of the periods are %s or less, want about %s", siege.Half, period)
	}
	if siege.P99 > heard.P99+2*period {
		t.Errorf("one period in a hundred is %s or more, and %s in a process beside it", siege.P99, heard.P99)
	}
	if grown := after - before; grown > 1<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := l.served.Load() - served; n > int64(took/age)+2 {
		t.Errorf("the loop was asked %d times in %s", n, took)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %.200s", logged)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
	return s.Refused()
}

// Attacks of so many connections at a time: fewer than the server takes, and more.
const (
	allIn   = "24"
	tooMuch = "40"
)

// doneWith is when the server has closed what the attack has left: net/http waits half a
// second for a peer to read what it is sent.
const doneWith = 4 * time.Second

// 10,000 requests by a user who may command, malformed, oversized and slow, leave the
// loop's period and memory as they were.
func TestLoad(t *testing.T) {
	if n := besiege(t, nil, everybody(t), allIn); n < requests/8 {
		t.Errorf("%d refused", n)
	}
}

// By strangers likewise, and those who may command get through to the daemon meanwhile.
func TestRootLoadByStrangers(t *testing.T) {
	l := newLoop(t)
	s, _ := serving(t, l, Access{readAll: true, group: nobody})
	cmd := caller(t, stranger(), "attack", s.path, tooMuch)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	asked, longest := 0, time.Duration(0)
	for c := Dial(s.path); ; asked++ {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			t.Logf("asked %d times meanwhile, the longest answer took %s", asked, longest)
			if asked < 10 {
				t.Errorf("asked %d times, the longest answer took %s", asked, longest)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
		began := time.Now()
		if _, err := c.Do(t.Context(), Request{Verb: Resume}); err != nil {
			t.Errorf("root's request: %v", err)
		}
		longest = max(longest, time.Since(began))
	}
}

func TestRootLoad(t *testing.T) {
	besiege(t, stranger(), Access{readAll: true, group: nobody}, tooMuch)
}

// stranger is somebody who has no name and no group.
func stranger() *syscall.Credential {
	return &syscall.Credential{Uid: 4_000_001, Gid: 4_000_001, Groups: []uint32{}}
}
