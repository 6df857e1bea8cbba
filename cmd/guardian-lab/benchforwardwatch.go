package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// A watchReport is what a guard's process saw of its own loop. Times are the boot
// clock, which all processes have in common.
type watchReport struct {
	Ticks []tickMark `json:"ticks"` // the last is the end
	Looks []lookMark `json:"looks"`
}

// A tickMark is the beginning of a tick.
type tickMark struct {
	At    time.Duration `json:"at_ns"`
	Pause time.Duration `json:"pause_ns"` // that it asked for
	CPU   time.Duration `json:"cpu_ns"`   // of the process so far
}

// A lookMark is the end of a census.
type lookMark struct {
	At   time.Duration `json:"at_ns"`
	Read int           `json:"read"` // entries
}

// A tickReport says how late ticks came against the pause that was asked for, in
// seconds. A tick's own time counts in, so one that blocks makes the next late.
type tickReport struct {
	Count int `json:"count"`
	spread

	late []time.Duration
}

func newTickReport(late []time.Duration) tickReport {
	return tickReport{len(late), spreadOf(late), late}
}

// ticks are those that were due or came between two times.
func (r *watchReport) ticks(from, until time.Duration) tickReport {
	var late []time.Duration
	for i := 1; i < len(r.Ticks); i++ {
		before, at := r.Ticks[i-1], r.Ticks[i].At
		if due := before.At + before.Pause; due <= until && at > from {
			late = append(late, max(0, at-due))
		}
	}
	return newTickReport(late)
}

// cpu is the process's share of a CPU between two times, or as near as ticks were.
func (r *watchReport) cpu(from, until time.Duration) float64 {
	var within []tickMark
	for _, t := range r.Ticks {
		if t.At >= from && t.At <= until {
			within = append(within, t)
		}
	}
	if len(within) < 2 {
		return 0
	}
	first, last := within[0], within[len(within)-1]
	return float64(last.CPU-first.CPU) / float64(last.At-first.At)
}

// A watch is the process of a guard.
type watch struct {
	cmd            *exec.Cmd
	stdin          io.Closer
	stdout, stderr bytes.Buffer
	dir            *lab.Dir
	ended          bool
}

// startWatch starts a guard of the namespace at a path. Ctrl-C is for the
// benchmark, which then ends the guard.
func startWatch(self, namespace, condition string) (w *watch, err error) {
	w = new(watch)
	if w.dir, err = lab.NewDir(); err != nil {
		return nil, err
	}
	w.cmd = exec.Command(self, "bench", "guard", condition, "--namespace", namespace, "--state-dir", w.dir.Path)
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.cmd.Stdout, w.cmd.Stderr = &w.stdout, &w.stderr
	if w.stdin, err = w.cmd.StdinPipe(); err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the guard: %w", err), w.dir.Close())
	}
	return w, nil
}

// stopWithin is how long the guard has to end: it waits for its census, which
// notices the end at once.
const stopWithin = 10 * time.Second

// stop ends the guard and returns what it saw.
func (w *watch) stop() (r watchReport, err error) {
	giveUp := time.AfterFunc(stopWithin, func() { _ = w.cmd.Process.Kill() })
	defer giveUp.Stop()
	_ = w.stdin.Close() // the guard may have ended
	w.ended = true
	if err := w.cmd.Wait(); err != nil {
		return r, fmt.Errorf("the guard failed: %w: %s", err, strings.TrimSpace(w.stderr.String()))
	}
	if err := json.Unmarshal(w.stdout.Bytes(), &r); err != nil {
		return r, fmt.Errorf("understand the guard's %.200q: %w", w.stdout.Bytes(), err)
	}
	return r, nil
}

// kill ends the guard if it is still there, and takes its directory away.
func (w *watch) kill() error {
	if !w.ended {
		w.ended = true
		_ = w.cmd.Process.Kill() // it may have ended
		_ = w.cmd.Wait()
	}
	return w.dir.Close()
}
