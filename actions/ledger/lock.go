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

// acquire takes the lock at path for as long as the file stays open. The
// kernel lets go of it when the process ends, however it ends.
func acquire(dir, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if errors.Is(err, unix.EROFS) {
		f, err = os.Open(path) // enough for flock: undoing must work when the disk has gone read-only
	}
	if err != nil {
		return nil, fmt.Errorf("lock ledger: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = &HeldError{Dir: dir, PID: holder(f)}
	case err != nil:
		err = fmt.Errorf("lock ledger: flock %s: %w", path, err)
	default:
		sign(f)
		return f, nil
	}
	f.Close()
	return nil, err
}

// sign writes our pid into the lock file for whoever finds it taken. It only
// names us in their message, so a full disk is no reason to stop.
func sign(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

func holder(f *os.File) int {
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
