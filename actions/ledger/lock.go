package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A HeldError is a ledger that another process holds.
type HeldError struct {
	Dir string
	PID int // 0 when the holder has not said
}

func (e *HeldError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("the ledger in %s is held by %s, most likely the running daemon: let it do the work, or stop it first", e.Dir, who)
}

// lock takes the directory for as long as it stays open. The kernel lets go of
// it when the process ends, however it ends. The lock is on the directory and
// not on a file in it, which could be removed and made anew beside its holder.
func (d *directory) lock() error {
	err := unix.Flock(int(d.self.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return &HeldError{Dir: d.path, PID: d.holder()}
	case err != nil:
		return fmt.Errorf("lock ledger: flock %s: %w", d.path, err)
	}
	// Only for the message of whoever finds it taken: a disk that is full is no
	// reason to stop.
	_ = d.write(pidName, []byte(strconv.Itoa(os.Getpid())+"\n"))
	return nil
}

// holder is the process that has taken the lock as far as it has said so, else 0.
func (d *directory) holder() int {
	f, err := d.open(pidName, os.O_RDONLY)
	if err != nil {
		return 0
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) { // left by an earlier holder
		return 0
	}
	return pid
}
