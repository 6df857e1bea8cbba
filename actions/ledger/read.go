package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A DamagedError is a ledger that can't be trusted. Nothing has been changed.
type DamagedError struct {
	Path   string
	Line   int   // first line is 1
	Offset int64 // of the line's first byte
	Err    error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s:%d: damaged at byte %d: %v (left as it is; to begin with an empty ledger move the file away: what is in force by it then stays)",
		e.Path, e.Line, e.Offset, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Read returns the changes recorded in the state directory dir, by rising ID.
// It takes no lock and changes nothing, so it may run beside the daemon; a
// record that is just being written is left out. No ledger is no changes.
func Read(dir string) ([]Change, error) {
	d, err := openDirectory(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	s, f, err := d.load(os.O_RDONLY)
	if f != nil {
		f.Close()
	}
	return s.book.changes, err
}

// A scan is what was found in a ledger file.
type scan struct {
	book book
	good int64  // length of the whole records
	tail []byte // what follows them: a write cut short
}

// load opens and scans the file; none is an empty scan and no file.
func (d *directory) load(flag int) (scan, *os.File, error) {
	f, err := d.open(FileName, flag)
	if errors.Is(err, fs.ErrNotExist) {
		return scan{}, nil, nil
	}
	if err != nil {
		return scan{}, nil, err
	}
	s, err := read(f)
	if err == nil {
		return s, f, nil
	}
	f.Close()
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		damaged.Path = d.name(FileName)
		return scan{}, nil, err
	}
	return scan{}, nil, fmt.Errorf("read ledger %s: %w", d.name(FileName), err)
}

// read folds the records of r up to a torn tail. Its memory is bounded by the
// longest line and by the changes it finds.
func read(r io.Reader) (scan, error) {
	var s scan
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := readLine(br)
		if errors.Is(err, bufio.ErrTooLong) {
			return s, &DamagedError{Line: n, Offset: s.good, Err: fmt.Errorf("longer than %d bytes", maxLine)}
		}
		if n == 1 && len(line) == 0 && err == nil {
			return s, &DamagedError{Line: n, Err: errors.New("empty")}
		}
		if err != nil || len(line) == 0 {
			return s, err
		}
		torn, err := s.take(line, br)
		switch {
		case errors.Is(err, errNewer):
			return s, err
		case err != nil:
			return s, &DamagedError{Line: n, Offset: s.good, Err: err}
		case torn:
			return s, nil
		}
		s.good += int64(len(line))
	}
}

// readLine returns the next line with its newline, the last one without if it
// has none, and nothing at the end.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, bufio.ErrTooLong
		case err == nil || errors.Is(err, io.EOF):
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// take folds one line, or says that it is the torn last one. rest is what
// follows the line. The first line is never torn: the file comes into being
// whole, by a rename.
func (s *scan) take(line []byte, rest *bufio.Reader) (torn bool, err error) {
	body, whole := cutNewline(line)
	r, err := decode(body)
	if whole && err == nil {
		return false, s.book.fold(r)
	}
	if _, more := rest.Peek(1); more == nil {
		return false, err
	}
	switch {
	case s.good == 0 && err != nil:
		return false, err
	case s.good == 0:
		return false, errors.New("the first record has no newline")
	case swallowed(line):
		return false, errors.New("two records on one line")
	}
	s.tail = line
	return true, nil
}

func cutNewline(line []byte) (body []byte, found bool) {
	last := len(line) - 1
	if line[last] != '\n' {
		return line, false
	}
	return line[:last], true
}
