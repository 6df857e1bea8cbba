package record

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// syncedAgain is how long after a sync that failed others must have gone well: a dying
// disk fails some.
const syncedAgain = time.Minute

// A syncer waits until files are on the disk, so that the writer needs not.
type syncer struct {
	r     *Recorder
	dir   *dir
	sync  func(*os.File) error
	files chan syncing
	done  chan struct{}
}

type syncing struct {
	file  *os.File
	close bool
}

func newSyncer(r *Recorder, d *dir) *syncer {
	s := &syncer{r: r, dir: d, sync: (*os.File).Sync, files: make(chan syncing, 8), done: make(chan struct{})}
	go s.work()
	return s
}

func (s *syncer) work() {
	defer close(s.done)
	for f := range s.files {
		err := s.sync(f.file)
		if f.close {
			err = errors.Join(err, f.file.Close())
		}
		if !errors.Is(err, os.ErrClosed) { // given up meanwhile
			s.synced(err)
		}
	}
}

// synced notes whether what is written is on the disk. Recording goes on if it is not: only
// a sync that goes well says otherwise, not a write.
func (s *syncer) synced(err error) {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.syncErr = fmt.Errorf("have the record %s outlast a power cut: %w", s.dir.path, reason(err))
		r.unsynced = time.Now()
	case time.Since(r.unsynced) >= syncedAgain:
		r.syncErr = nil
	}
}

// offer has a file synced, unless many wait.
func (s *syncer) offer(f *os.File) bool {
	select {
	case s.files <- syncing{f, false}:
		return true
	default:
		return false
	}
}

// last has a file synced and closed.
func (s *syncer) last(f *os.File) { s.files <- syncing{f, true} }

func (s *syncer) end() {
	close(s.files)
	<-s.done
}
