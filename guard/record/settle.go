package record

import (
	"fmt"
	"os"
	"strings"
)

// settle closes the files of episodes that were left open: by a process that was killed,
// or when the disk was full.
func (w *writer) settle() error {
	parts, err := w.dir.list(EpisodeSuffix + partSuffix)
	if err != nil {
		return err
	}
	for _, f := range parts {
		if err := w.dir.remove(f.name); err != nil {
			return err
		}
	}
	found, err := w.dir.episodes()
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := w.settleEpisode(f.name); err != nil {
			return fmt.Errorf("close what was left of an episode: %w", err)
		}
	}
	return nil
}

func (w *writer) settleEpisode(name string) error {
	c, err := scan(source{w.dir.path, name})
	switch {
	case err != nil:
		return err
	case c.last == nil && len(c.spans) == 0:
		return w.dir.remove(name) // it had just begun
	case c.last == nil:
		return nil
	case c.last.Complete:
		w.left = *c.last
		return nil
	}
	r, u, err := openEpisode(w.dir.path, c)
	if err != nil {
		return err
	}
	f, err := w.dir.open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	e := &episodeFile{w: w, file: f, name: name, size: c.behind, first: u.First}
	w.episode = e // its room is not made by removing it
	defer func() { w.episode = nil }()
	if err := e.settle(r, u); err != nil {
		e.file.Close()
		return err
	}
	w.syncer.last(e.file)
	w.left = u
	return nil
}

// settle adds what is in the ring only.
func (e *episodeFile) settle(r *Record, u summary) error {
	if err := e.file.Truncate(e.size); err != nil {
		return fmt.Errorf("write %s: %w", e.path(), err)
	}
	for _, more := range r.files[1:] {
		if err := e.addSegment(seqOf(more.source.name)); err != nil {
			return err
		}
	}
	u.end()
	u.Complete = true
	return e.add(strings.NewReader(""), 0, u)
}
