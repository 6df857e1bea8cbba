package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch has inotify tell of all that matters now. It reports whether that is so, or
// can't be: not, when directories come and go just then.
func (w *Watcher) watch() bool {
	for range 3 {
		want := placesOf(w.path)
		if w.watches(want) {
			return true
		}
		switch err := w.rewatch(want); {
		case err == nil: // and looked at again: it may have changed meanwhile
		case !errors.Is(err, fs.ErrNotExist):
			w.fault(err)
			return true
		}
	}
	return false
}

// watches reports whether just these places are watched. inotify lets go of one that
// is removed or renamed, even if there is another by its name, or its number, now.
func (w *Watcher) watches(want places) bool {
	return w.notify != nil && maps.Equal(w.watched, want) && len(w.notify.WatchList()) == len(want)
}

// rewatch begins anew with these places: what inotify knows of names is of the past.
func (w *Watcher) rewatch(want places) error {
	notify, err := w.open()
	if err != nil {
		return fmt.Errorf("watch the policy: %w", err)
	}
	for _, dir := range want {
		if err := notify.Add(dir); err != nil {
			notify.Close()
			return fmt.Errorf("watch %s for the policy: %w", dir, err)
		}
	}
	w.unwatch()
	w.notify, w.watched = notify, want
	return nil
}

func (w *Watcher) unwatch() {
	if w.notify != nil {
		w.notify.Close()
		w.notify, w.watched = nil, nil
	}
}

// events and errors are what inotify tells, nil without it.
func (w *Watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *Watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// stumble begins anew after an error of inotify: there were more events than it keeps,
// or a directory went away between being renamed and being let go of. Events may be
// lost, so it counts as one.
func (w *Watcher) stumble() {
	w.unwatch()
	w.touch(time.Now())
}

// fault says once that inotify does not work. It is tried again with each look.
func (w *Watcher) fault(err error) {
	w.unwatch()
	if !w.faulted && w.options.Fault != nil {
		w.options.Fault(err)
	}
	w.faulted = true
}
