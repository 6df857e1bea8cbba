package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPath is where the socket is: in the directory that systemd has made
// (RuntimeDirectory=), or where that is.
func DefaultPath() string {
	dir := os.Getenv("RUNTIME_DIRECTORY")
	if dir == "" {
		dir = "/run/conntrack-guardian"
	}
	return filepath.Join(dir, "control.sock")
}

// An InUseError says that another daemon listens on the socket.
type InUseError struct {
	Path string
	PID  int // 0 if it is not known
}

func (e *InUseError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("the control socket %s is in use: %s listens on it", e.Path, who)
}

// listen makes the socket, in the place of one on which nobody listens any more. It has
// its mode before it has its name.
func listen(path string, a *Access) (*spot, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the control socket: %w", err)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: draft, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // by that time another daemon's may have the name
	at, err := newSpot(l, draft)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	if err = a.apply(at); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		at.close()
		os.Remove(draft)
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	return at, nil
}

// vacant checks that nothing is at the path but a socket that nobody listens on.
func vacant(path string) error {
	switch there, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("make the control socket: %w", err)
	case there.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("make the control socket: %s is there and no socket", path)
	}
	p, err := listener(path)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EAGAIN): // it has as many callers as it takes
		return &InUseError{Path: path}
	case err != nil:
		return fmt.Errorf("ask who listens on the control socket: %w", err)
	}
	return &InUseError{path, p.pid}
}

// listener is who listens on the socket at a path.
func listener(path string) (peer, error) {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return peer{}, err
	}
	defer c.Close()
	return peerOf(c.(*net.UnixConn))
}
