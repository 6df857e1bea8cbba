package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
)

// nuisances are what comes to the socket from programs that mean no good, or no HTTP.
var nuisances = []string{
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS
	"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 40) + "\r\n",
	"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat(" ", 50_000),
	"POST /v1/approve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + strings.Repeat("{", 65_535),
	"POST /v1/approve HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"id\":12}",
	"POST /v1/rollback HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n{\"changes\":[1,1,-1,0]}",
	"DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /../../etc/shadow HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /v1/status HTTP/1.1\r\nHost: x\r\nX", // and then nothing
	strings.Repeat("\x00", 10_000),
}

// Ten thousand requests that are no requests, too large or never end leave the period of
// the readings and the daemon's memory as they were.
func TestRootBesieged(t *testing.T) {
	const requests = 10_000
	s := newSite(t)
	s.fill(60_000) // of 65,536: a reading that is late would matter
	d := s.start()
	time.Sleep(5 * time.Second)
	before, began := d.memory(), time.Now()
	var all sync.WaitGroup
	var heard atomic.Int64
	work := make(chan string)
	for range 40 {
		all.Go(func() {
			for n := range work {
				if s.annoy(n) {
					heard.Add(1)
				}
			}
		})
	}
	for i := range requests {
		work <- nuisances[i%len(nuisances)]
	}
	close(work)
	all.Wait()
	took := time.Since(began)
	time.Sleep(5 * time.Second)
	after := d.memory()
	if st := s.status(); st.Paused != nil {
		t.Errorf("paused: %+v", st.Paused)
	}
	d.stop()
	calm, siege := s.periods(began, took)
	t.Logf("%d of %d requests let in, in %s: periods %s, and %s before and after; %d kB resident, %d before", heard.Load(), requests, took.Round(time.Second), siege, calm, after, before)
	if heard.Load() < requests/4 {
		t.Errorf("only %d requests were let in", heard.Load())
	}
	if siege.middle > calm.middle*5/4 || siege.late > calm.late+100*time.Millisecond {
		t.Errorf("readings come later under siege")
	}
	if after > before*3/2+8<<10 { // the race detector takes several times as much
		t.Errorf("%d kB more are resident", after-before)
	}
	if n := strings.Count(d.log.String(), "\n"); n > 20 {
		t.Errorf("%d lines in the journal", n)
	}
}

// annoy sends something and waits for what comes of it, but not for long. Where there are
// too many at once it tries again a few times. It reports whether it was let in.
func (s *site) annoy(text string) bool {
	for range 10 {
		c, err := net.Dial("unix", s.path("control.sock"))
		if err != nil {
			return false
		}
		_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond)) // never fails for a socket
		_, _ = io.WriteString(c, text)                           // the daemon may have closed it
		answer, _ := io.ReadAll(c)                               // or not answer at all
		c.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// memory is what the daemon has resident, in kB.
func (d *daemon) memory() (kB int) {
	d.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		d.Fatal(err)
	}
	return kB
}

// periods are those between readings: the median, and the 99th percentile.
type periods struct{ middle, late time.Duration }

func (p periods) String() string {
	return fmt.Sprintf("of %s (99 %%: %s)", p.middle.Round(time.Millisecond), p.late.Round(time.Millisecond))
}

// periods finds in the flight record how the daemon read the table, in a span of time and
// outside of it.
func (s *site) periods(from time.Time, span time.Duration) (outside, inside periods) {
	s.Helper()
	r, err := record.Read(recordDir(s.path("state")))
	if err != nil {
		s.Fatal(err)
	}
	var in, out []time.Duration
	last := time.Duration(0)
	for st, err := range r.Steps() {
		if err != nil {
			s.Fatal(err)
		}
		if at := st.Snapshot.Wall; last == 0 {
		} else if at.After(from) && at.Before(from.Add(span)) {
			in = append(in, st.Now-last)
		} else {
			out = append(out, st.Now-last)
		}
		last = st.Now
	}
	return periodsOf(out), periodsOf(in)
}

func periodsOf(all []time.Duration) periods {
	if len(all) == 0 {
		return periods{}
	}
	slices.Sort(all)
	return periods{all[len(all)/2], all[len(all)*99/100]}
}
