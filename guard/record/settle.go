package record

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
			w.unfrozen(err) // the ring is none the worse for it
		}
	}
	return w.makeRoomForEpisodes() // the size may have been another
}

func (w *writer) settleEpisode(name string) error {
	u, err := completeSummary(source{w.dir.path, name})
	if err != nil || u != nil {
		w.found(u)
		return err
	}
	c, err := scan(source{w.dir.path, name})
	switch {
	case err != nil:
		return err
	case c.last == nil && len(c.spans) == 0:
		return w.dir.remove(name) // it had just begun
	case c.last == nil:
		return nil
	case c.last.Complete:
		w.found(c.last)
		return nil
	}
	return w.closeLeft(name, c)
}

// found keeps the newest of the episodes that there are.
func (w *writer) found(u *summary) {
	if u != nil && u.First >= w.left.First {
		w.left = *u
	}
}

// closeLeft closes the file of an episode that was left open.
func (w *writer) closeLeft(name string, c *contents) error {
	r, u, err := openEpisode(w.dir.path, c)
	if err != nil {
		return err
	}
	w.episode = &episodeFile{w: w, name: name, from: u.First} // its room is not made by removing it
	defer func() { w.episode = nil }()
	if err := w.episode.settle(c, r, u); err != nil {
		w.episode.leave()
		return err
	}
	w.syncer.last(w.episode.file)
	w.found(&u)
	return nil
}

// settle adds what is in the ring only.
func (e *episodeFile) settle(c *contents, r *Record, u summary) error {
	e.ours, e.whole = true, c.behind // u has it all
	if err := e.open(u); err != nil {
		return err
	}
	for _, more := range r.files[1:] {
		if err := e.addSegment(seqOf(more.source.name)); err != nil {
			return err
		}
	}
	u.end()
	u.Complete = true
	if err := e.summarize(u, 0); err != nil {
		return err
	}
	return e.w.makeRoomForEpisodes()
}
