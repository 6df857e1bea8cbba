package guard

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The loop as systemd sees it: ready, reloaded, refused, stopped.
func TestRun(t *testing.T) {
	w := newGateway(t)
	w.want = 1000
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		base := w.now
		w.Clock = func() time.Duration { return base + time.Since(started) }
		var mu sync.Mutex
		var sent []string
		n := &Notifier{watchdog: time.Second, send: func(s string) bool {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, s)
			return true
		}}
		has := func(want string) bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.ContainsFunc(sent, func(s string) bool { return strings.Contains(s, want) })
		}
		file, loadErr := config.Default(), error(nil)
		ctx, cancel := context.WithCancel(t.Context())
		reload := make(chan os.Signal)
		done := make(chan error)
		w.Source, w.Writable = func() string { return "a test" }, func() error { return errors.New("not today") }
		order := uint64(0)
		w.Load = func() watch.Loaded {
			order++
			return watch.Loaded{File: file, Err: loadErr, Order: order}
		}
		go func() { done <- w.Run(ctx, n, Inputs{Hangup: reload}) }()

		time.Sleep(5 * time.Second)
		if !has("READY=1") || !has("STATUS=healthy: 1,000 of 65,536 (2 %)") || !has("WATCHDOG=1") {
			t.Errorf("sent %q", sent)
		}
		file.Policy.Mode = policy.Observe
		reload <- syscall.SIGHUP
		time.Sleep(5 * time.Second)
		mu.Lock()
		i := slices.IndexFunc(sent, func(s string) bool { return strings.HasPrefix(s, "RELOADING=1") })
		if i < 0 || i+1 >= len(sent) || sent[i+1] != "READY=1" {
			t.Errorf("after the reload: sent %q, want READY=1 behind RELOADING=1", sent)
		}
		mu.Unlock()
		if !has("mode observe") {
			t.Errorf("after the reload: sent %q", sent)
		}
		loadErr = config.Problems{{File: "f", Line: 3, Col: 1, Key: "a", Message: "m"}, {File: "f", Line: 9, Col: 1, Key: "b", Message: "n"}}
		reload <- syscall.SIGHUP
		time.Sleep(5 * time.Second)
		if !has("policy file rejected") {
			t.Errorf("after the refused reload: sent %q", sent)
		}
		loadErr, file.Namespace = nil, "/run/netns/other"
		reload <- syscall.SIGHUP
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !has("STOPPING=1") {
			t.Errorf("after the stop: sent %q", sent)
		}
	})
	if w.Config.Mode != policy.Observe || w.Namespace != "" {
		t.Errorf("mode %s, namespace %q: a refused policy is in force", w.Config.Mode, w.Namespace)
	}
	w.wantLines(eventReloaded, 1)
	w.wantLines(eventRejected, 3) // two problems, and the namespace
	w.wantLines(eventStopped, 1)
	w.wantLines(eventUnable, 1) // in mode act at the start, and not in mode observe
}

func TestReloadOfAMissingFile(t *testing.T) {
	w := newGateway(t)
	w.reload(func() (config.File, error) { return config.Default(), errors.New("read policy: permission denied") })
	if w.Config.Mode != policy.Act {
		t.Error("an unreadable policy replaced the last good one")
	}
	w.wantLines(eventRejected, 1)
}
