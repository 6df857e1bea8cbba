package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A process is identified by more than its pid, which the kernel uses again.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // field 22 of /proc/PID/stat: clock ticks after boot
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

// self is this process.
func self() (process, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return process{}, err
	}
	boot, err := bootID()
	return process{PID: os.Getpid(), Start: start, Boot: boot}, err
}

// alive reports whether exactly this process, not a later one with its pid,
// still runs. A zombie does not: it has let go of everything but its pid.
func (p process) alive() (bool, error) {
	boot, err := bootID()
	if err != nil || boot != p.Boot {
		return false, err
	}
	start, err := startTime(p.PID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return start == p.Start, err
}

// startTime reads when a process started, in clock ticks after boot. The error
// is fs.ErrNotExist if there is none, or if it is dead and only waits to be
// reaped.
func startTime(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(path)
	if errors.Is(err, syscall.ESRCH) { // it ended between open and read
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return parseStartTime(text)
}

// parseStartTime takes field 22 from a /proc/PID/stat line. The second field,
// the program's name, may contain blanks and brackets, so counting begins after
// the last bracket.
func parseStartTime(stat []byte) (uint64, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("parse stat %q: too few fields", stat)
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return 0, fmt.Errorf("process is a zombie: %w", fs.ErrNotExist)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse stat: %w", err)
	}
	return start, nil
}

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

func sortNewestFirst(all []*claim) {
	slices.SortFunc(all, func(a, b *claim) int {
		return -cmp.Or(cmp.Compare(a.Owner.Start, b.Owner.Start),
			cmp.Compare(a.Owner.PID, b.Owner.PID), cmp.Compare(a.Seq, b.Seq))
	})
}
