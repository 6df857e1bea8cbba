package record

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// mostLeads is how many segments the lead-in of an episode takes at most.
const mostLeads = 32

// An episodeFile is what is frozen of an episode, while it is being written.
type episodeFile struct {
	w    *writer
	file *os.File
	name string
	size int64
	// first is the segment that the file begins with, unless base has another: what there
	// was before a restart, nil for nothing.
	first uint64
	base  *summary
}

// open begins the file of an episode with the segments of the lead-in, or goes on with it
// after a restart.
func (w *writer) open(u summary, now time.Duration) error {
	name := u.ID + EpisodeSuffix
	if !episodeName.MatchString(u.ID) {
		return fmt.Errorf("record episode %q: that can't be the name of a file", u.ID)
	}
	f, err := w.dir.open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("make %s: %w", w.dir.full(name), err)
	}
	w.episode = &episodeFile{w: w, file: f, name: name}
	last, err := w.episode.resume()
	if err != nil {
		return err
	}
	leads := w.leads(last, now)
	w.episode.first = w.seq
	if len(leads) > 0 {
		w.episode.first = leads[0]
	}
	if err := w.values(firstValues); err != nil {
		return err
	}
	for _, seq := range leads {
		if err := w.episode.addSegment(seq); err != nil {
			return err
		}
	}
	if err := w.episode.summarize(u); err != nil {
		return err
	}
	w.syncer.offer(f)
	return w.makeRoomForEpisodes()
}

// leads are the finished segments that a lead-in up to now takes, oldest first, of those
// behind the last that is there already.
func (w *writer) leads(last uint64, now time.Duration) (seqs []uint64) {
	n := len(w.lately)
	first := n - 1 // the segment that is being written
	for first > 0 && w.lately[first].at > now-leadIn {
		first--
	}
	for i := max(first, 0); i < n-1; i++ {
		if w.lately[i].seq > last {
			seqs = append(seqs, w.lately[i].seq)
		}
	}
	return seqs
}

// resume finds what there is already, and the last segment of it.
func (e *episodeFile) resume() (last uint64, err error) {
	info, err := e.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", e.path(), err)
	}
	c, err := scanFile(source{e.w.dir.path, e.name}, e.file, info.Size())
	if err != nil {
		return 0, err
	}
	e.base, e.size = c.last, c.behind
	if err := e.file.Truncate(e.size); err != nil {
		return 0, fmt.Errorf("write %s: %w", e.path(), err)
	}
	for _, sp := range c.spans {
		last = max(last, sp.seq)
	}
	return last, nil
}

func (e *episodeFile) path() string { return e.w.dir.full(e.name) }

// summarize writes what is known of the episode by now.
func (e *episodeFile) summarize(u summary) error {
	if u.First = e.first; e.base != nil {
		u = e.base.plus(u)
	}
	text, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	return e.frame(append([]byte{kindEpisode}, text...))
}

// values writes those of sysctls.
func (w *writer) values(kind byte) error {
	if w.episode == nil || w.r.o.Values == nil {
		return nil
	}
	text, err := json.Marshal(w.r.o.Values())
	if err != nil {
		return fmt.Errorf("write %s: %w", w.episode.path(), err)
	}
	return w.episode.frame(append([]byte{kindValues, kind}, text...))
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

// add adds the segment that is finished, and what is known by it.
func (e *episodeFile) add(segment io.ReaderAt, size int64, u summary) error {
	if err := e.copy(segment, size); err != nil {
		return err
	}
	if err := e.summarize(u); err != nil {
		return err
	}
	if e.size > e.w.r.o.Size/8 {
		if err := e.shorten(u); err != nil {
			return err
		}
	}
	return e.w.makeRoomForEpisodes()
}

// addSegment adds one that was finished before, or given up.
func (e *episodeFile) addSegment(seq uint64) error {
	f, err := e.w.dir.open(segmentName(seq), os.O_RDONLY)
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
// the newest, so that it does not come to that with each segment.
func (e *episodeFile) shorten(u summary) error {
	was := e.file
	c, err := scanFile(source{e.w.dir.path, e.name}, was, e.size)
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
	if err := e.fill(was, c, u); err != nil {
		e.file = was
		f.Close()
		return err
	}
	was.Close()
	if err := e.w.dir.root.Rename(part, e.name); err != nil {
		return fmt.Errorf("replace %s: %w", e.path(), err)
	}
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
	if err := e.summarize(u); err != nil {
		return err
	}
	if err := e.file.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	return nil
}

func (s *span) size() int64 { return s.end - s.start }

// makeRoomForEpisodes keeps them in their half of the size. The newest always stays.
func (w *writer) makeRoomForEpisodes() error {
	found, err := w.dir.episodes()
	if err != nil {
		return err
	}
	var total int64
	for _, f := range found {
		total += f.size
	}
	for i := 0; i < len(found)-1 && total > w.r.o.Size/2; i++ {
		if w.episode != nil && found[i].name == w.episode.name {
			continue
		}
		if err := w.dir.remove(found[i].name); err != nil {
			return err
		}
		total -= found[i].size
	}
	return w.dir.sync()
}
