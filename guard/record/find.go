package record

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// An Episode is one that was recorded.
type Episode struct {
	ID           string
	Begun, Ended time.Time // Ended is zero while it is open
	Cause        policy.Cause
	Pattern      policy.Pattern
	Peak         float64 // utilization
	Lost         uint64  // connections
	Done, Undone int     // changes made for it, and those taken back
	Path         string
	Bytes        int64
}

// Episodes lists the episodes that are frozen in a directory, oldest first. One whose
// file is damaged so that nothing is known of it is left out. The error is of those that
// can't be read; the others are listed all the same.
func Episodes(path string) ([]Episode, error) {
	d, err := openDir(path)
	if err != nil {
		return nil, err
	}
	found, err := d.episodes()
	d.root.Close()
	if err != nil {
		return nil, err
	}
	var list []Episode
	var errs []error
	for _, f := range found {
		switch u, err := summarized(path, f.name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		case u != nil:
			list = append(list, u.episode(d.full(f.name), f.size))
		}
	}
	return list, errors.Join(errs...)
}

// summarized is what is known of an episode, nil for nothing.
func summarized(path, name string) (*summary, error) {
	u, err := completeSummary(source{path, name})
	if err != nil || u != nil {
		return u, err
	}
	c, err := scan(source{path, name})
	if err != nil || c.last == nil {
		return nil, err
	}
	_, more, err := openEpisode(path, c)
	return &more, err
}

func (u *summary) episode(path string, size int64) Episode {
	return Episode{
		ID: u.ID, Begun: u.Begun, Ended: u.Ended, Cause: u.Cause, Pattern: u.Pattern, Peak: u.Peak, Lost: u.Lost,
		Done: u.Done, Undone: u.Undone, Path: path, Bytes: size,
	}
}

// Find reads the record of an episode, of which there is none if the error is
// fs.ErrNotExist. Of an open one it is what has been recorded until now.
func Find(path, id string) (*Record, error) {
	if !episodeName.MatchString(id) {
		return nil, fmt.Errorf("%q is not the id of an episode, such as 20060102T150405Z: %w", id, fs.ErrNotExist)
	}
	c, err := scan(source{path, id + EpisodeSuffix})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no episode %s is recorded in %s: %w", id, path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	r, _, err := openEpisode(path, c)
	if err != nil {
		return nil, err
	}
	return newRecord(r.path, r.files)
}

// openEpisode reads what is in an episode's file, and in the ring what is not in it yet.
func openEpisode(path string, c *contents) (*Record, summary, error) {
	r := &Record{path: c.source.path(), files: []*contents{c}}
	if c.last == nil {
		return r, summary{ID: strings.TrimSuffix(c.source.name, EpisodeSuffix)}, nil
	}
	u := *c.last
	if u.Complete {
		return r, u, nil
	}
	from := u.First
	for i, sp := range c.spans {
		if sp.start >= c.behind { // it was being added
			c.spans = c.spans[:i]
			break
		}
		from = max(from, sp.seq+1)
	}
	more, err := ring(path, from)
	if err != nil {
		return nil, u, err
	}
	r.files = append(r.files, more...)
	u.catchUp(&Record{files: more})
	return r, u, nil
}

// catchUp takes in what was recorded since.
func (u *summary) catchUp(r *Record) {
	for st, err := range r.Steps() {
		if err == nil && st.Now > u.At {
			u.add(&st.Snapshot, st.Now, st.Decisions)
		}
	}
}
