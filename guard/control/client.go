package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning says that nobody listens on the socket.
var ErrNotRunning = errors.New("the daemon is not running")

// answerSize is the size of the largest answer in bytes. A change of the ledger makes a
// kilobyte or two of the answer to a rollback.
const answerSize = 64 << 20

// A Client asks a daemon.
type Client struct {
	path string
	http http.Client
}

// Dial makes a client of the daemon at a path. It connects with each request.
func Dial(path string) *Client {
	c := &Client{path: path}
	dialer := &net.Dialer{Timeout: time.Second}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives:  true,
		DisableCompression: true,
		Proxy:              nil,
	}
	return c
}

// Status asks how things stand.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime+readTime)
	defer cancel()
	text, err := c.ask(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return s, nil
}

// Do asks for something to be done. A *Refusal says why it was not.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, doTime+readTime)
	defer cancel()
	text, err := c.ask(ctx, http.MethodPost, string(r.Verb), bodyOf(r))
	if err != nil {
		return nil, err
	}
	a := new(Answer)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return a, nil
}

// bodyOf is what parse makes a request of.
func bodyOf(r Request) any {
	switch r.Verb {
	case Approve:
		return approveBody{r.ID}
	case Rollback:
		return rollbackBody{r.Changes, r.Restrictions, r.All, r.Force}
	case Pause:
		return pauseBody{int64(r.For / time.Second)}
	}
	return emptyBody{}
}

// ask sends one request and returns the body of the answer.
func (c *Client) ask(ctx context.Context, method, name string, body any) ([]byte, error) {
	var text io.Reader
	if body != nil {
		text = bytes.NewReader(encode(body))
	}
	r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://daemon/v%d/%s", Version, name), text)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(http.MaxBytesReader(nil, answer.Body, answerSize))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, fmt.Errorf("the daemon has answered, but with more than %d MiB", answerSize>>20)
	case err != nil:
		return nil, c.explain(err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, refusalOf(answer.Status, got)
	}
	return got, nil
}

// refusalOf reads why a request was refused.
func refusalOf(status string, text []byte) error {
	var r refused
	if err := json.Unmarshal(text, &r); err != nil || r.Error == nil || r.Error.Message == "" {
		return fmt.Errorf("the daemon answered %s", status)
	}
	return r.Error
}

// explain says what to make of a failure to ask.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens on %s", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return &Refusal{Code: Forbidden, Message: fmt.Sprintf("this user may not use the control socket %s: root may, and the group that the policy names (control.group)", c.path)}
	case errors.Is(err, context.DeadlineExceeded):
		return &Refusal{Code: Busy, Message: fmt.Sprintf("the daemon that listens on %s gives no answer", c.path)}
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, unix.EAGAIN):
		return &Refusal{Code: Busy, Message: fmt.Sprintf("the daemon closed the connection to %s: it stops, or has too many of them", c.path)}
	}
	return fmt.Errorf("ask the daemon on %s: %w", c.path, err)
}
