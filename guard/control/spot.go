package control

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A spot is where a server listens. Its name in the file system is not ours alone: who may
// write to the directory can take it away, or give it to another file. So the socket's file
// is held open, and is never looked for by that name once it was made.
type spot struct {
	listener *net.UnixListener
	pin      *os.File    // of the file, with O_PATH
	info     os.FileInfo // of the file. Nobody else gets its number while it is held
}

// newSpot takes hold of the file that a listener has just made. That the file is its own
// and no other that has been put there since, it knows by asking who listens on it.
func newSpot(l *net.UnixListener, name string) (*spot, error) {
	pin, err := os.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	at := &spot{listener: l, pin: pin}
	p, err := listener(at.file())
	if err == nil && p.pid != os.Getpid() {
		err = fmt.Errorf("process %d listens on it", p.pid)
	}
	if err == nil {
		at.info, err = pin.Stat()
	}
	if err != nil {
		pin.Close()
		return nil, fmt.Errorf("another file has taken the place of %s: %w", name, err)
	}
	return at, nil
}

// file is a path to the file, whatever its name is by now, and if it has none.
func (at *spot) file() string { return fmt.Sprintf("/proc/self/fd/%d", at.pin.Fd()) }

// named reports whether the file is what is found at a path.
func (at *spot) named(path string) bool {
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(there, at.info)
}

// leave gives the spot up for another. Who has connected by then is let in yet.
func (at *spot) leave() {
	at.pin.Close()
	time.AfterFunc(leaveTime, func() { at.listener.Close() })
}

func (at *spot) close() {
	at.pin.Close()
	at.listener.Close()
}
