package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// An episodeFile is what is frozen of an episode, while it is being written.
type episodeFile struct {
	w     *writer
	name  string
	since time.Duration // boot clock when the episode began
	from  uint64        // the first segment of this run that belongs in it
	// base is what the file said before, by a run or a writing that was given up, nil for
	// nothing.
	base *summary

	file   *os.File // nil while it can't be written
	size   int64
	whole  int64    // bytes of it up to the newest summary
	next   uint64   // the segment that is added behind it
	values [][]byte // payloads of the values of sysctls
	said   int      // how many of them are in it
	ours   bool     // the newest summary is by this writing

	final *summary // that ends it, nil while the episode is being recorded
	last  uint64   // the segment that ends it
}

func (e *episodeFile) path() string { return e.w.dir.full(e.name) }

// add writes what the file does not have, up to a segment. What is followed by a summary
// stays, whatever comes of the rest.
func (e *episodeFile) add(u summary, last uint64) error {
	if e.file == nil {
		if err := e.open(u); err != nil {
			return err
		}
		defer e.w.syncer.offer(e.file)
	}
	for _, payload := range e.values[e.said:] {
		if err := e.frame(payload); err != nil {
			return err
		}
	}
	part := u
	part.Complete = false
	for e.next < last {
		if err := e.addSegment(e.next); err != nil {
			return err
		}
		if err := e.summarize(part, e.next+1); err != nil {
			return err
		}
	}
	if e.next == last {
		if err := e.addSegment(last); err != nil {
			return err
		}
	}
	return e.summarize(u, max(e.next, last+1))
}

// open opens the file, to go on behind the newest summary in it.
func (e *episodeFile) open(u summary) error {
	f, err := e.w.dir.open(e.name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("make %s: %w", e.path(), err)
	}
	if err := e.resume(f, u); err != nil {
		f.Close()
		return err
	}
	e.file = f
	return nil
}

func (e *episodeFile) resume(f *os.File, u summary) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open %s: %w", e.path(), err)
	}
	if !e.ours || info.Size() < e.whole {
		if err := e.takeUp(f, info.Size(), u); err != nil {
			return err
		}
	}
	if e.size = e.whole; info.Size() == e.size {
		return nil
	}
	if err := f.Truncate(e.size); err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	return nil
}

// takeUp finds what there is already.
func (e *episodeFile) takeUp(f io.ReaderAt, size int64, u summary) error {
	c, err := scanFile(source{e.w.dir.path, e.name}, f, size)
	if err != nil {
		return err
	}
	e.whole, e.next, e.said = c.behind, e.from, 0
	if n := len(c.spans); n > 0 && c.spans[n-1].boot != e.w.r.o.Boot && !e.ours { // its clock was as wrong as ours is
		e.whole, c.last, c.spans = 0, nil, nil
	}
	for _, sp := range c.spans {
		if sp.start < c.behind {
			e.next = max(e.next, sp.seq+1)
		}
	}
	switch {
	case e.ours: // somebody has taken the file away
	case c.last != nil:
		e.base = c.last
	case e.since < u.At:
		e.base, err = e.missed(u)
	}
	return err
}

// missed is what is said of an episode by what the ring has of it, before the reading that
// it was taken up at.
func (e *episodeFile) missed(u summary) (*summary, error) {
	was := summary{ID: u.ID, Begun: u.Begun, First: e.from, At: e.since - 1}
	files, err := ring(e.w.dir.path, e.from)
	if err != nil {
		return nil, err
	}
	was.catchUp(&Record{files: files[:max(len(files)-1, 0)]})
	return &was, nil
}

// leave lets go of the file, with what is whole of it.
func (e *episodeFile) leave() {
	if e.file == nil {
		return
	}
	_ = e.file.Truncate(e.whole) // what is left of it is cut off when it is opened again
	e.file.Close()
	if e.file = nil; e.whole == 0 {
		_ = e.w.dir.remove(e.name) // it says nothing
	}
}

// summarize writes what is known of the episode by now. next is the segment that is to
// follow.
func (e *episodeFile) summarize(u summary, next uint64) error {
	if u.First = e.from; e.base != nil {
		u = e.base.plus(u)
	}
	text, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	if err := e.frame(append([]byte{kindEpisode}, text...)); err != nil {
		return err
	}
	e.whole, e.next, e.said, e.ours = e.size, next, len(e.values), true
	if e.size > e.w.r.o.Size/8 {
		return e.shorten(u)
	}
	return nil
}

func (e *episodeFile) frame(payload []byte) error {
	frame, err := e.w.frames.append(nil, payload)
	if err == nil {
		_, err = e.file.WriteAt(frame, e.size)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	e.size += int64(len(frame))
	return nil
}

// addSegment adds one that is finished, or was given up, unless it has gone from the ring.
func (e *episodeFile) addSegment(seq uint64) error {
	if e.w.file != nil && seq == e.w.seq {
		return e.copy(e.w.file, e.w.good)
	}
	f, err := e.w.dir.open(segmentName(seq), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", e.w.dir.full(segmentName(seq)), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Name(), err)
	}
	c, err := scanFile(source{e.w.dir.path, segmentName(seq)}, f, info.Size())
	if err != nil {
		return err
	}
	return e.copy(f, c.good)
}

func (e *episodeFile) copy(segment io.ReaderAt, size int64) error {
	n, err := io.Copy(io.NewOffsetWriter(e.file, e.size), io.NewSectionReader(segment, 0, size))
	if err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	e.size += n
	return nil
}

// shorten writes the file anew with the first half of what it may have, and a quarter of
// the newest, so that it does not come to that with each segment. What is said of it is u.
func (e *episodeFile) shorten(u summary) error {
	was := *e
	c, err := scanFile(source{e.w.dir.path, e.name}, was.file, e.size)
	if err != nil || len(c.spans) == 0 {
		return err
	}
	part := e.name + partSuffix
	if err := e.w.dir.remove(part); err != nil {
		return err
	}
	f, err := e.w.dir.open(part, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("make %s: %w", e.w.dir.full(part), err)
	}
	e.file, e.size = f, 0
	if err = e.fill(was.file, c, u); err == nil {
		err = e.w.dir.root.Rename(part, e.name)
	}
	if err != nil {
		*e = was
		f.Close()
		return fmt.Errorf("replace %s: %w", e.path(), err)
	}
	was.file.Close()
	e.whole = e.size
	return e.w.dir.sync()
}

// fill copies what is kept.
func (e *episodeFile) fill(was io.ReaderAt, c *contents, u summary) error {
	most := e.w.r.o.Size / 8
	if err := e.copy(was, c.spans[0].start); err != nil {
		return err
	}
	head := 0
	for total := int64(0); head < len(c.spans) && total+c.spans[head].size() <= most/2; head++ {
		total += c.spans[head].size()
	}
	tail := len(c.spans)
	for total := int64(0); tail > head && total+c.spans[tail-1].size() <= most/4; tail-- {
		total += c.spans[tail-1].size()
	}
	for i := range c.spans {
		if i >= head && i < tail {
			continue
		}
		sp := &c.spans[i]
		if err := e.copy(io.NewSectionReader(was, sp.start, sp.size()), sp.size()); err != nil {
			return err
		}
	}
	if c.end != nil {
		text, err := json.Marshal(c.end)
		if err != nil {
			return fmt.Errorf("write %s: %w", e.path(), err)
		}
		if err := e.frame(append([]byte{kindValues, lastValues}, text...)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(u)
	if err == nil {
		err = e.frame(append([]byte{kindEpisode}, text...))
	}
	if err == nil {
		err = e.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	return nil
}

func (s *span) size() int64 { return s.end - s.start }
