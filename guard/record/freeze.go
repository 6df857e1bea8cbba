package record

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// What keeps the file of an episode from being written costs the ring nothing: the file is
// caught up from it when the next segment is finished.

// open begins the file of an episode that has begun at since, with the segments of the
// lead-in, or goes on with it after a restart.
func (w *writer) open(u summary, since time.Duration, values map[string]string) {
	w.settleUp()
	if !episodeName.MatchString(u.ID) {
		w.unfrozen(fmt.Errorf("%q can't be the name of a file", u.ID))
		return
	}
	w.episode = &episodeFile{w: w, name: u.ID + EpisodeSuffix, since: since, from: w.leadOf(since)}
	w.note(u, firstValues, values)
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

// note has the values of sysctls in the file of the episode, nil for none.
func (w *writer) note(u summary, kind byte, values map[string]string) {
	if w.episode == nil {
		return
	}
	if values != nil {
		text, _ := json.Marshal(values) // fails for no strings
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

// makeRoomForEpisodes keeps them in their half of the size. The newest always stays. How
// old one is the number of its first segment tells: it is named by a clock that may have
// been wrong.
func (w *writer) makeRoomForEpisodes() error {
	found, err := w.dir.episodes()
	if err != nil {
		return err
	}
	var total int64
	for _, f := range found {
		total += f.room()
	}
	if total <= w.r.o.Size/2 || len(found) < 2 {
		return w.dir.sync()
	}
	w.byAge(found)
	for _, f := range found[:len(found)-1] {
		if total <= w.r.o.Size/2 {
			break
		}
		if err := w.dir.remove(f.name); err != nil {
			return err
		}
		total -= f.room()
	}
	return w.dir.sync()
}

// byAge sorts episodes, oldest first. Of one that can't be read nothing is lost.
func (w *writer) byAge(found []stored) {
	first := map[string]uint64{}
	for _, f := range found {
		switch u, err := completeSummary(source{w.dir.path, f.name}); {
		case w.episode != nil && f.name == w.episode.name:
			first[f.name] = math.MaxUint64 // it is being written
		case err == nil && u != nil:
			first[f.name] = u.First
		}
	}
	slices.SortStableFunc(found, func(a, b stored) int { return cmp.Compare(first[a.name], first[b.name]) })
}
