// Package boot tells the boots of the machine apart and the time within one.
package boot

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const idFile = "/proc/sys/kernel/random/boot_id"

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ID is the kernel's random name for this boot, a UUID in lower case with
// dashes. Containers on one kernel share it.
func ID() (string, error) {
	text, err := os.ReadFile(idFile)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return parse(text)
}

// parse refuses everything but a UUID: two boots under one wrong name would let
// a change of the earlier one pass for ours.
func parse(text []byte) (string, error) {
	id := strings.TrimSuffix(string(text), "\n")
	if !uuid.MatchString(id) {
		return "", fmt.Errorf("read boot id: %s holds %.60q, not a UUID", idFile, text)
	}
	return id, nil
}

// Now is the time since boot, including time asleep (CLOCK_BOOTTIME). It never
// jumps, and is comparable between processes of one boot. In a time namespace
// it has that namespace's offset.
func Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		// Linux has had this clock since 2.6.39.
		panic("boot: read CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(now.Nano())
}
