package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A cpuTime is what the machine's CPUs have done since boot, in clock ticks.
type cpuTime struct{ idle, all uint64 }

// readCPUTime reads the first line of /proc/stat, proc(5).
func readCPUTime() (t cpuTime, err error) {
	const path = "/proc/stat"
	text, err := os.ReadFile(path)
	if err != nil {
		return t, fmt.Errorf("read %s: %w", path, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return parseCPUTime(line)
}

// parseCPUTime adds up user, nice, system, idle, iowait, irq, softirq and steal.
// What follows is the time of guests, which is in user and nice.
func parseCPUTime(line string) (t cpuTime, err error) {
	var ticks [8]uint64
	fields := strings.Fields(line)
	if len(fields) <= len(ticks) || fields[0] != "cpu" {
		return t, fmt.Errorf("/proc/stat begins with %.200q", line)
	}
	for i := range ticks {
		if ticks[i], err = strconv.ParseUint(fields[1+i], 10, 64); err != nil {
			return t, fmt.Errorf("parse /proc/stat: %w", err)
		}
		t.all += ticks[i]
	}
	t.idle = ticks[3] + ticks[4]
	return t, nil
}

// idleSince is the idle share of the CPUs since an earlier reading.
func (t cpuTime) idleSince(before cpuTime) float64 {
	if t.all == before.all {
		return 0
	}
	return float64(t.idle-before.idle) / float64(t.all-before.all)
}
