package watch

import (
	"errors"
	"io/fs"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

// A print tells one state of the files from another: the hash of what could be read,
// else why nothing could.
type print string

// missing is the print of no policy file where there was one.
const missing print = "missing"

// A sight is what one look has found.
type sight struct {
	Loaded
	print print
}

// look reads the files.
func (w *Watcher) look(now time.Time) sight {
	w.first, w.latest, w.looked = time.Time{}, time.Time{}, now
	if !w.watch() {
		w.touch(now)
	}
	texts, err := config.Read(w.path)
	w.order++
	if err != nil {
		return w.unread(err)
	}
	w.had = true
	hash := config.Hash(texts)
	s := sight{Loaded{Hash: hash, Order: w.order}, print(hash)}
	if s.print == w.last {
		return s // nobody will ask for the rest
	}
	var problems config.Problems
	if s.File, problems = config.ParseAll(texts); len(problems) > 0 {
		s.Err = problems
	}
	return s
}

// unread is the sight of what can't be read. That there is no file is nothing new
// where there was none.
func (w *Watcher) unread(err error) sight {
	s := sight{Loaded{File: config.Default(), Err: err, Order: w.order}, print(err.Error())}
	if errors.Is(err, fs.ErrNotExist) {
		s.print = missing
		if w.last == "" {
			s.print = ""
		}
	}
	return s
}

// judge decides whether what was found is to be sent: what is wrong not before it has
// been so for a while.
func (w *Watcher) judge(s sight, now time.Time) {
	switch {
	case s.Err == nil:
	case w.doubted.IsZero() || w.doubt.print != s.print:
		w.doubt, w.doubted = s, now
		return
	case now.Sub(w.doubted) < patience:
		return
	}
	w.pending, w.doubted = &s, time.Time{}
}

// now is the answer to who will not wait.
func (w *Watcher) now() Loaded {
	w.last = "" // so that it is parsed
	s := w.look(time.Now())
	if w.options.Optional && !w.had && errors.Is(s.Err, fs.ErrNotExist) {
		s.Err, s.print = nil, ""
	}
	w.last, w.pending, w.doubted = s.print, nil, time.Time{}
	return s.Loaded
}
