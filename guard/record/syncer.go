package record

import (
	"errors"
	"os"
)

// A syncer waits until files are on the disk, so that the writer needs not.
type syncer struct {
	r     *Recorder
	dir   *dir
	files chan syncing
	done  chan struct{}
}

type syncing struct {
	file  *os.File
	close bool
}

func newSyncer(r *Recorder, d *dir) *syncer {
	s := &syncer{r: r, dir: d, files: make(chan syncing, 8), done: make(chan struct{})}
	go s.work()
	return s
}

func (s *syncer) work() {
	defer close(s.done)
	for f := range s.files {
		err := f.file.Sync()
		if f.close {
			err = errors.Join(err, f.file.Close())
		}
		if err != nil && !errors.Is(err, os.ErrClosed) { // given up meanwhile
			s.r.failed(s.dir.failed(err))
		}
	}
}

// failed notes an error after which writing goes on.
func (r *Recorder) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
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
