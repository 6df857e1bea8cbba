package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Record is what was recorded, in a file or in all of the ring.
type Record struct {
	path  string
	files []*contents
}

// Read looks through a record: a file of an episode, a segment of the ring, or the
// directory, which is the whole ring. It fails where there is nothing to be read.
func Read(path string) (*Record, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	if info.IsDir() {
		return readRing(path)
	}
	c, err := scan(source{name: path})
	if err != nil {
		return nil, err
	}
	return newRecord(path, []*contents{c})
}

// newRecord is one that has something in it.
func newRecord(path string, files []*contents) (*Record, error) {
	r := &Record{path: path, files: files}
	var damage error
	for _, c := range files {
		if len(c.spans) > 0 {
			return r, nil
		}
		if c.damage != nil && damage == nil {
			damage = c.damage
		}
	}
	if damage != nil {
		return nil, fmt.Errorf("no flight record: %w", damage)
	}
	return nil, fmt.Errorf("no flight record: %s: nothing is recorded in it", path)
}

// readRing reads the segments of a directory, oldest first.
func readRing(path string) (*Record, error) {
	files, err := ring(path, 0)
	if err != nil {
		return nil, err
	}
	return newRecord(path, files)
}

// ring scans the segments from one on. One that goes meanwhile is missing.
func ring(path string, from uint64) ([]*contents, error) {
	d, err := openDir(path)
	if err != nil {
		return nil, err
	}
	found, err := d.segments()
	d.root.Close()
	if err != nil {
		return nil, err
	}
	var files []*contents
	for _, f := range found {
		if seqOf(f.name) < from {
			continue
		}
		c, err := scan(source{path, f.name})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, c)
	}
	return files, nil
}

// Path is what was read.
func (r *Record) Path() string { return r.path }

// Values are the values of sysctls when the episode was opened and when it was closed,
// nil where they are not recorded.
func (r *Record) Values() (begin, end map[string]string) {
	return r.files[0].begin, r.files[0].end
}

// Start is the state before the first step. It is exact unless why says why not.
func (r *Record) Start() (st policy.State, exact bool, why string) {
	for seg, err := range r.segments() {
		if err != nil {
			return st, false, err.Error()
		}
		return seg.h.state()
	}
	return st, false, "nothing can be read of it"
}

// Steps are what was recorded, oldest first. Of damage it yields a *Damage, and goes on
// behind it with the next segment.
func (r *Record) Steps() iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		for seg, err := range r.segments() {
			if err != nil {
				if !yield(Step{}, err) {
					return
				}
				continue
			}
			for st, err := range seg.steps() {
				if !yield(st, err) {
					return
				}
			}
		}
	}
}

// A segment that is being read.
type segment struct {
	h       *header
	config  *policy.Config
	gap     string // why readings before it are missing
	resumes bool   // nothing is missing: its state is what came of the step before
	span    *span
	scanner *scanner
	broken  bool // not all of it could be read
}

// segments opens one after the other.
func (r *Record) segments() iter.Seq2[*segment, error] {
	return func(yield func(*segment, error) bool) {
		var before *segment // nil for the first
		for _, c := range r.files {
			if c.damage != nil && !yield(nil, c.damage) {
				return
			}
			for i := range c.spans {
				seg, err := c.spans[i].read(before, yield)
				switch {
				case errors.Is(err, errEnough):
					return
				case errors.Is(err, fs.ErrNotExist): // it has gone from the ring since
				case err != nil && !yield(nil, err):
					return
				}
				before = seg
			}
		}
	}
}

// errEnough is that nobody wants more.
var errEnough = errors.New("enough")

// read opens a segment and yields it. One that can't be read is broken.
func (s *span) read(before *segment, yield func(*segment, error) bool) (*segment, error) {
	seg := &segment{span: s, broken: true}
	f, err := s.source.open()
	if err != nil {
		return seg, fmt.Errorf("open the record: %w", err)
	}
	defer f.Close()
	seg.scanner = newScanner(io.NewSectionReader(f, s.start, s.end-s.start), s.start)
	if err := seg.begin(before); err != nil {
		return seg, &Damage{s.source.path(), s.start, err}
	}
	seg.broken = s.damage != nil
	if !yield(seg, nil) {
		return seg, errEnough
	}
	return seg, nil
}

// begin reads what a segment begins with.
func (g *segment) begin(before *segment) error {
	if _, _, err := g.scanner.next(); err != nil { // magic
		return err
	}
	_, payload, err := g.scanner.next()
	if err != nil {
		return err
	}
	if g.h, err = parseHeader(payload); err != nil {
		return err
	}
	if g.config, err = g.h.config(); err != nil {
		return err
	}
	switch {
	case before == nil:
	case before.broken:
		g.gap = "what was recorded before can't be read"
	case g.h.follows(before.h):
		g.resumes = true
	default:
		g.gap = g.h.missing(before.h)
	}
	return nil
}

// missing says why readings are, between two segments.
func (h *header) missing(before *header) string {
	switch {
	case h.Boot != before.Boot:
		return "the machine was booted"
	case h.Run != before.Run:
		return "the daemon was restarted"
	case h.Dropped > 0:
		return fmt.Sprintf("%d readings could not be written", h.Dropped)
	}
	return fmt.Sprintf("%d segments are missing", max(int64(h.Seq-before.Seq), 1)-1)
}

// steps reads the readings of a segment.
func (g *segment) steps() iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		var l newest
		config, gap := g.config, g.gap
		for {
			at := g.scanner.at
			kind, payload, err := g.scanner.next()
			if errors.Is(err, io.EOF) {
				break
			}
			var st Step
			if err == nil && kind == kindReading {
				var c *policy.Config
				if st, c, err = l.parse(payload); c != nil {
					config, st.Reloaded = c, true
				}
			}
			if err != nil {
				g.broken = true
				yield(Step{}, &Damage{g.span.source.path(), at, err})
				return
			}
			if kind != kindReading {
				continue
			}
			if st.Config, st.Gap = config, gap; !yield(st, nil) {
				return
			}
			gap = ""
		}
		if g.span.damage != nil {
			yield(Step{}, g.span.damage)
		}
	}
}
