package journald

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// A gate is a journald that takes an entry when told to.
type gate chan error

func (g gate) send(string, journal.Priority, map[string]string) error { return <-g }

func TestStuckJournaldCostsPatienceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		w := newWire(g.send)
		for _, want := range []time.Duration{patience, 0, 0} {
			begun := time.Now()
			err := w.deliver("x", journal.PriInfo, nil)
			if took := time.Since(begun); !errors.Is(err, errStuck) || took != want {
				t.Errorf("%v after %v, want errStuck after %v", err, took, want)
			}
		}
		g <- nil // journald is back, and takes the one entry that it was sent
		synctest.Wait()
		go func() { g <- nil }()
		if err := w.deliver("x", journal.PriInfo, nil); err != nil {
			t.Errorf("after journald is back: %v", err)
		}
	})
}

func TestSlowJournaldIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		g := make(gate)
		w := newWire(g.send)
		go func() {
			for _, err := range []error{nil, refused, nil} {
				time.Sleep(patience / 4)
				g <- err
			}
		}()
		var all sync.WaitGroup
		results := make(chan error, 3)
		for range 3 {
			all.Go(func() { results <- w.deliver("x", journal.PriInfo, nil) })
		}
		all.Wait()
		close(results)
		failed := 0
		for err := range results {
			if err != nil {
				failed++
			}
			if err != nil && !errors.Is(err, refused) {
				t.Error(err)
			}
		}
		if failed != 1 {
			t.Errorf("%d of 3 entries failed, want the refused one", failed)
		}
	})
}

// An entry that is taken at the last moment must not leave the wire stuck.
func TestEntryTakenAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(string, journal.Priority, map[string]string) error { time.Sleep(patience); return nil }
		w := newWire(late)
		for range 100 {
			_ = w.deliver("x", journal.PriInfo, nil) // either way
			synctest.Wait()
		}
		w.send = func(string, journal.Priority, map[string]string) error { return nil }
		if err := w.deliver("x", journal.PriInfo, nil); err != nil {
			t.Error(err)
		}
	})
}
