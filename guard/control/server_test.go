package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A desk is a daemon that notes what it is asked.
type desk struct {
	status func(context.Context) (*Status, error)
	do     func(context.Context, Request) (*Answer, error)

	mu    sync.Mutex
	asked int
	done  []Request
}

func (d *desk) Status(ctx context.Context) (*Status, error) {
	d.mu.Lock()
	d.asked++
	d.mu.Unlock()
	if d.status != nil {
		return d.status(ctx)
	}
	return &Status{Mode: "act", Daemon: Process{PID: os.Getpid()}}, nil
}

func (d *desk) Do(ctx context.Context, r Request) (*Answer, error) {
	d.mu.Lock()
	d.done = append(d.done, r)
	d.mu.Unlock()
	if d.do != nil {
		return d.do(ctx, r)
	}
	return &Answer{Message: "done"}, nil
}

// requests are those that it has been asked to do.
func (d *desk) requests() []Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.done)
}

// socketPath is one that is short enough and whose directory everybody may enter.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "control.sock")
}

// serving is a server of a daemon, and what it logs.
func serving(t *testing.T, d Daemon, a Access) (*Server, *bytes.Buffer) {
	t.Helper()
	logged := new(bytes.Buffer)
	s, err := Listen(socketPath(t), d, a, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, logged
}

// everybody reads, and only root and this user command.
func everybody(t *testing.T) Access {
	t.Helper()
	a, err := Resolve("", true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRequestsArrive(t *testing.T) {
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	want := &Answer{Message: "well", Lines: []string{"one"}, Until: &until, Changes: json.RawMessage(`[{"id":3}]`), Failed: []string{"two"}}
	d := &desk{do: func(context.Context, Request) (*Answer, error) { return want, nil }}
	s, _ := serving(t, d, everybody(t))
	c := Dial(s.path)
	me := peer{uid: uint32(os.Geteuid())}
	requests := []Request{
		{Verb: Approve, ID: "raise-max-3f2a1"},
		{Verb: Rollback, Changes: []int{4, 3}, Force: true},
		{Verb: Rollback, Restrictions: true},
		{Verb: Rollback, All: true},
		{Verb: Reload},
		{Verb: Pause, For: 30 * time.Minute},
		{Verb: Resume},
	}
	for i := range requests {
		got, err := c.Do(t.Context(), requests[i])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: answer (-want +got):\n%s", requests[i].Verb, diff)
		}
		requests[i].By = me.name()
	}
	if diff := cmp.Diff(requests, d.done); diff != "" {
		t.Errorf("requests (-sent +arrived):\n%s", diff)
	}
	if n := s.Refused(); n != 0 {
		t.Errorf("%d refused", n)
	}
}

// What the status says comes through, and its lists are never null.
func TestStatusArrives(t *testing.T) {
	half, never := 0.5, (*float64)(nil)
	want := &Status{
		Version: 1, At: time.Unix(1e9, 0).UTC(), Mode: "advise", Table: Table{Count: 5, Max: 10, Utilization: 0.5, TimeToFull: never},
		Paused: &Paused{Until: time.Unix(2e9, 0).UTC(), By: "root"},
		Advice: []Advice{{ID: "a-1", Text: "<&>", Due: true}}, Active: []Active{}, Yielded: []Yielded{}, Recent: []Act{},
	}
	want.Hour[59] = &half
	d := &desk{status: func(context.Context) (*Status, error) {
		given := *want
		given.Version, given.Active, given.Yielded, given.Recent = 0, nil, nil, nil
		return &given, nil
	}}
	s, _ := serving(t, d, everybody(t))
	got, err := Dial(s.path).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want.Acts.Measures = got.Acts.Measures
	if diff := cmp.Diff(want, got); diff != "" || got.Acts.Measures == nil {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	text := converse(t, s.path, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, part := range []string{`"active":[]`, `"yielded":[]`, `"recent":[]`, `"measures":{}`, `"episode":null`, `"time_to_full":null`, `"text":"<&>"`} {
		if !strings.Contains(text, part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

// Many readers cost the daemon five answers a second at most; what was done shows at once.
func TestStatusIsAskedSeldom(t *testing.T) {
	d := &desk{}
	s, _ := serving(t, d, everybody(t))
	c := Dial(s.path)
	began := time.Now()
	for range 200 {
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if most := int(time.Since(began)/age) + 1; d.asked > most {
		t.Errorf("asked %d times in %s", d.asked, time.Since(began))
	}
	before := d.asked
	if _, err := c.Do(t.Context(), Request{Verb: Resume}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.asked != before+1 {
		t.Errorf("asked %d times after a request, want 1", d.asked-before)
	}
}

func TestRefusalsArrive(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status string
		want   *Refusal
	}{
		{&Refusal{Stale, "the table has drained", nil}, "409 Conflict", &Refusal{Stale, "the table has drained", nil}},
		{&Refusal{Rejected, "no", []string{"a:1:2: b"}}, "409 Conflict", &Refusal{Rejected, "no", []string{"a:1:2: b"}}},
		{&Refusal{Blocked, "paused", nil}, "409 Conflict", &Refusal{Blocked, "paused", nil}},
		{&Refusal{NotFound, "no such advice", nil}, "404 Not Found", &Refusal{NotFound, "no such advice", nil}},
		{context.DeadlineExceeded, "503 Service Unavailable", &Refusal{Busy, "the daemon gave no answer in time: its loop is busy or hangs", nil}},
		{io.ErrUnexpectedEOF, "500 Internal Server Error", &Refusal{Fault, "unexpected EOF", nil}},
	} {
		s, logged := serving(t, &desk{do: func(context.Context, Request) (*Answer, error) { return nil, tc.err }}, everybody(t))
		_, err := Dial(s.path).Do(t.Context(), Request{Verb: Reload})
		var got *Refusal
		if !errors.As(err, &got) {
			t.Errorf("%v: %v", tc.err, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tc.err, diff)
		}
		answer := converse(t, s.path, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 "+tc.status+"\r\n") {
			t.Errorf("%v: %q, want %s", tc.err, answer, tc.status)
		}
		if logged.Len() > 0 {
			t.Errorf("logged %s", logged)
		}
	}
}

// A daemon that breaks at one answer goes on, and its journal says where.
func TestPanicIsAFault(t *testing.T) {
	d := &desk{do: func(context.Context, Request) (*Answer, error) { panic("out of ink") }}
	s, logged := serving(t, d, everybody(t))
	_, err := Dial(s.path).Do(t.Context(), Request{Verb: Reload})
	if r := new(Refusal); !errors.As(err, &r) || r.Code != Fault {
		t.Errorf("error %v", err)
	}
	if text := logged.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "out of ink") {
		t.Errorf("logged %q", text)
	}
	if _, err := Dial(s.path).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// Who closes its half of the connection before the answer has come is told that it left.
func TestHalfClosed(t *testing.T) {
	d := &desk{do: func(ctx context.Context, _ Request) (*Answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	s, _ := serving(t, d, everybody(t))
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	if err == nil {
		err = c.(*net.UnixConn).CloseWrite()
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 503 ") || !strings.Contains(string(text), "keep it open") {
		t.Errorf("%q, %v", text, err)
	}
}

// An answer about thousands of changes comes through, and one that has no end ends.
func TestLargeAnswers(t *testing.T) {
	size := 8 << 20
	d := &desk{do: func(context.Context, Request) (*Answer, error) {
		return &Answer{Message: strings.Repeat("x", size)}, nil
	}}
	s, _ := serving(t, d, everybody(t))
	if a, err := Dial(s.path).Do(t.Context(), Request{Verb: Resume}); err != nil || len(a.Message) != size {
		t.Errorf("%d bytes: %v", size, err)
	}
	size = answerSize
	if _, err := Dial(s.path).Do(t.Context(), Request{Verb: Resume}); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("%d bytes: %v", size, err)
	}
}

// converse sends text as it is and returns all of the answer.
func converse(t testing.TB, path, text string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // fails on a closed one only
	_, _ = io.WriteString(c, text)                      // the answer may come before all was sent
	got, _ := io.ReadAll(c)
	return string(got)
}
