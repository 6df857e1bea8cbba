package record

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// syncEvery is the time between two syncs of the segment that is being written.
const syncEvery = 10 * time.Second

// A batch is what the writer has to do: bytes to append to the segment, and between them
// what else.
type batch struct {
	b        []byte
	readings uint64
	ops      []op
}

// An op is done when the bytes before it are written.
type op struct {
	at       int
	readings uint64 // before it
	do       func(*writer) error
}

func (b *batch) then(do func(*writer) error) { b.ops = append(b.ops, op{len(b.b), b.readings, do}) }

func (b *batch) empty() bool { return len(b.b) == 0 && len(b.ops) == 0 }

func (b *batch) reset() {
	if b.readings = 0; cap(b.b) > mostPending/4 { // after a time without a disk
		b.b = nil
	}
	b.b = b.b[:0]
	clear(b.ops)
	b.ops = b.ops[:0]
}

// A writer is the one that waits for the disk.
type writer struct {
	r      *Recorder
	dir    *dir
	held   *os.File // the lock
	syncer *syncer
	done   chan struct{}

	file    *os.File // the segment, nil if none is being written
	seq     uint64   // its number
	good    int64    // bytes of it that are whole frames
	newest  uint64   // number of the newest segment there has been
	synced  time.Time
	frames  framer
	left    summary      // of the newest episode that was found
	lately  []begun      // the segments of this run that are in the ring, oldest first
	episode *episodeFile // that is being written, nil for none
}

// begun is a segment and the boot clock at its first reading.
type begun struct {
	seq uint64
	at  time.Duration
}

func newWriter(r *Recorder, d *dir) (*writer, error) {
	held, err := lock(d)
	if err != nil {
		return nil, err
	}
	w := &writer{r: r, dir: d, held: held, frames: framer{plain: true}, syncer: newSyncer(r, d), done: make(chan struct{})}
	if err := w.takeUp(); err != nil {
		w.syncer.end()
		held.Close()
		return nil, err
	}
	return w, nil
}

// takeUp puts in order what was found.
func (w *writer) takeUp() error {
	found, err := w.dir.segments()
	if err != nil {
		return err
	}
	if n := len(found); n > 0 {
		w.newest = seqOf(found[n-1].name)
		if err := w.cutTail(found[n-1].name); err != nil { // who reads it sees where it ends
			w.r.err = w.dir.failed(err)
		}
	}
	return w.settle()
}

// cutTail cuts off what a crash has left half written.
func (w *writer) cutTail(name string) error {
	c, err := scan(source{w.dir.path, name})
	if err != nil || !c.torn {
		return err
	}
	f, err := w.dir.open(name, os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("cut off what was half written: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(c.good); err != nil {
		return fmt.Errorf("cut off what was half written: %w", err)
	}
	return nil
}

// work writes what the loop hands over, until the record is closed.
func (w *writer) work() {
	defer close(w.done)
	var mine batch
	for open := true; open; {
		select {
		case <-w.r.wake:
		case <-w.r.closing:
			open = false
		}
		w.r.mu.Lock()
		mine, w.r.pending, w.r.writing = w.r.pending, mine, true
		w.r.mu.Unlock()
		written, err := w.write(&mine)
		w.r.wrote(mine.readings, written, err)
		mine.reset()
	}
	w.leave()
}

// wrote tells the loop what came of so many readings. What was not written is gone, and
// what follows can't rest on it.
func (r *Recorder) wrote(readings, written uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing = false
	switch {
	case err == nil && readings > 0 && !r.broken:
		r.works = true
	case err != nil:
		r.broken, r.works, r.dropped = true, false, r.dropped+readings-written
		if !errors.Is(err, errGone) {
			r.err = err
		}
	}
}

// write does a batch, or gives up on the first error and says how many readings were
// written.
func (w *writer) write(b *batch) (written uint64, err error) {
	at := 0
	for _, op := range b.ops {
		if err := w.append(b.b[at:op.at]); err != nil {
			return written, w.abandon(err)
		}
		at, written = op.at, op.readings
		if err := op.do(w); err != nil {
			return written, w.abandon(err)
		}
	}
	if err := w.append(b.b[at:]); err != nil {
		return written, w.abandon(err)
	}
	if w.file != nil && time.Since(w.synced) >= syncEvery && w.syncer.offer(w.file) {
		w.synced = time.Now()
	}
	return b.readings, nil
}

// errGone is that a segment was given up before.
var errGone = errors.New("there is no segment")

// append writes whole frames to the segment. What was written of them in part is cut off.
func (w *writer) append(frames []byte) error {
	switch {
	case len(frames) == 0:
		return nil
	case w.file == nil:
		return errGone
	}
	n, err := w.file.WriteAt(frames, w.good)
	if err != nil {
		_ = w.file.Truncate(w.good) // what is left of it is taken for torn
		return err
	}
	w.good += int64(n)
	return nil
}

// abandon gives up what is being written, until the loop begins anew.
func (w *writer) abandon(err error) error {
	w.giveUp()
	return w.dir.failed(err)
}

// giveUp leaves the segment and the episode as they are.
func (w *writer) giveUp() {
	if w.file != nil {
		w.file.Close()
		if w.file = nil; w.good == 0 {
			_ = w.dir.remove(segmentName(w.seq)) // it says nothing
			w.forget(w.seq)
		}
	}
	if w.episode != nil {
		w.episode.leave()
		w.episode = nil
	}
}

// beginAnew puts in order what a failure has left.
func (w *writer) beginAnew() error {
	w.giveUp()
	return w.settle()
}

// begin finishes the segment before and makes one. u is the episode that is being
// recorded.
func (w *writer) begin(seq uint64, now time.Duration, u summary) error {
	w.finish(u)
	if err := w.makeRoom(); err != nil {
		return err
	}
	f, err := w.dir.open(segmentName(seq), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("make %s: %w", w.dir.full(segmentName(seq)), err)
	}
	w.file, w.seq, w.newest, w.good = f, seq, seq, 0
	w.lately = append(w.lately, begun{seq, now})
	return nil
}

// forget takes note that a segment is no longer in the ring.
func (w *writer) forget(seq uint64) {
	w.lately = slices.DeleteFunc(w.lately, func(b begun) bool { return b.seq == seq })
}

// finish ends the segment and, while an episode is recorded, adds it to its file.
func (w *writer) finish(u summary) {
	if w.file == nil {
		return
	}
	if w.episode != nil {
		w.catchUp(u, w.seq)
	}
	w.syncer.last(w.file)
	w.file = nil
}

// makeRoom keeps the ring in its half of the size.
func (w *writer) makeRoom() error {
	found, err := w.dir.segments()
	if err != nil {
		return err
	}
	total := w.r.o.segmentBytes() // of the one to come
	for _, f := range found {
		total += f.room()
	}
	for _, f := range found {
		if total <= w.r.o.Size/2 {
			return nil
		}
		if err := w.dir.remove(f.name); err != nil {
			return err
		}
		w.forget(seqOf(f.name))
		total -= f.room()
	}
	return nil
}

// leave ends everything.
func (w *writer) leave() {
	u := w.r.episode // the loop has ended
	u.end()
	w.closeEpisode(u)
	w.settleUp()
	w.syncer.end()
	w.held.Close()
	w.dir.root.Close()
}
