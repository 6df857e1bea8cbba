package record

import (
	"encoding/json"
	"fmt"
	"time"
)

// What keeps the file of an episode from being written costs the ring nothing: the file is
// caught up from it when the next segment is finished.

// open begins the file of an episode that has begun at since, with the segments of the
// lead-in, or goes on with it after a restart.
func (w *writer) open(u summary, since time.Duration) {
	w.settleUp()
	if !episodeName.MatchString(u.ID) {
		w.unfrozen(fmt.Errorf("%q can't be the name of a file", u.ID))
		return
	}
	w.episode = &episodeFile{w: w, name: u.ID + EpisodeSuffix, since: since, from: w.leadOf(since)}
	w.ask(u, firstValues)
}

// leadOf is the segment that a lead-in begins with.
func (w *writer) leadOf(since time.Duration) uint64 {
	from := w.seq
	for i := len(w.lately) - 1; i >= 0; i-- {
		if from = w.lately[i].seq; w.lately[i].at <= since-leadIn {
			break
		}
	}
	return from
}

// ask has the values of sysctls in the file of the episode.
func (w *writer) ask(u summary, kind byte) {
	if w.episode == nil {
		return
	}
	if w.r.o.Values != nil {
		text, _ := json.Marshal(w.r.o.Values()) // fails for no strings
		w.episode.values = append(w.episode.values, append([]byte{kindValues, kind}, text...))
	}
	w.catchUp(u, w.seq-1)
}

// catchUp has in the file of the episode what there is, up to a segment that is finished.
func (w *writer) catchUp(u summary, last uint64) {
	e := w.episode
	if e.final != nil {
		u, last = *e.final, e.last
	}
	err := e.add(u, last)
	if err != nil {
		e.leave()
	} else {
		err = w.makeRoomForEpisodes()
	}
	if w.unfrozen(err); err == nil && e.final != nil {
		w.syncer.last(e.file)
		w.episode = nil
	}
}

// closeEpisode ends the segment, and the file of an episode with it, if there is one.
func (w *writer) closeEpisode(u summary) {
	if w.episode != nil && w.episode.final == nil {
		u.Complete = true
		w.episode.final, w.episode.last = &u, w.seq
	}
	if w.file == nil {
		w.settleUp()
	}
	w.finish(u)
}

// settleUp gives up the file of an episode, of one that is over after one more attempt.
func (w *writer) settleUp() {
	if w.episode != nil && w.episode.final != nil {
		w.catchUp(summary{}, 0)
	}
	if w.episode != nil {
		w.episode.leave()
		w.episode = nil
	}
}

// unfrozen notes why the file of an episode can't be written, nil when it was.
func (w *writer) unfrozen(err error) {
	if err != nil {
		err = fmt.Errorf("freeze an episode in %s: %w", w.dir.path, reason(err))
	}
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.episodeErr = err
}

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
