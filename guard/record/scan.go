package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mostSegments is the most that a record may have: a ring of 64 GiB has as many.
const mostSegments = 1 << 17

// Damage is what is wrong with a file of a record.
type Damage struct {
	Path   string
	Offset int64
	Err    error
}

func (d *Damage) Error() string { return fmt.Sprintf("%s: at byte %d: %v", d.Path, d.Offset, d.Err) }
func (d *Damage) Unwrap() error { return d.Err }

// A source is a file of a record: by its name in a directory, or by the path somebody
// gave.
type source struct{ dir, name string }

func (s source) path() string {
	if s.dir == "" {
		return s.name
	}
	return s.dir + "/" + s.name
}

func (s source) open() (*os.File, error) {
	if s.dir == "" {
		f, err := os.OpenFile(s.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		return regular(f)
	}
	d, err := openDir(s.dir)
	if err != nil {
		return nil, err
	}
	defer d.root.Close()
	return d.open(s.name, os.O_RDONLY)
}

// A span is where a segment is.
type span struct {
	source     source
	start, end int64
	damage     *Damage // that it ends with, if it does
	seq        uint64
	run, boot  string
	now        time.Duration
}

// contents are what is in a file.
type contents struct {
	source  source
	spans   []span
	damage  *Damage  // before the first segment
	last    *summary // of an episode, the newest
	behind  int64    // offset behind it
	begin   map[string]string
	end     map[string]string
	good    int64 // offset behind the last whole frame
	torn    bool  // there is more, that was cut short
	scanner *scanner
}

// scan finds what is in a file, without reading the readings. What is damaged is left
// out; the error is what the disk says.
func scan(src source) (*contents, error) {
	f, err := src.open()
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	return scanFile(src, f, info.Size())
}

// mostDamages is how many damaged places of a file are passed over.
const mostDamages = 1000

func scanFile(src source, f io.ReaderAt, size int64) (*contents, error) {
	c := &contents{source: src, scanner: newScanner(io.NewSectionReader(f, 0, size), 0)}
	c.scanner.passing = true
	buf := make([]byte, 64<<10)
	for damages := 1; ; damages++ {
		err := c.frames()
		if err == nil || c.scanner.at >= size {
			break
		}
		next, found := nextMagic(f, c.scanner.at+1, size, buf)
		if !found && tornAt(f, err, c.scanner.at, size) {
			c.torn = true
			break
		}
		d := c.damaged(err)
		if damages == mostDamages {
			d.Err = fmt.Errorf("%w; %d places are damaged, and what follows is left out", d.Err, damages)
			break
		}
		if !found || len(c.spans) >= mostSegments {
			break
		}
		c.scanner.reset(io.NewSectionReader(f, next, size-next), next)
	}
	return c, nil
}

// frames goes through the frames up to the end, or to the first that is wrong.
func (c *contents) frames() error {
	s := c.scanner
	begun, start := false, int64(0)
	for {
		c.good = max(c.good, s.at)
		was := s.at
		kind, payload, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			s.at = was
			return err
		case kind == 0:
			begun, start = true, was
			continue
		case kind == kindSegment && !begun:
			err = errMagic
		default:
			err = c.frame(kind, payload, start)
		}
		if err != nil {
			s.at = was
			return err
		}
		begun = false
	}
}

// frame takes in one.
func (c *contents) frame(kind byte, payload []byte, start int64) error {
	switch kind {
	case kindSegment:
		h, err := parseHeader(payload)
		if err != nil {
			return err
		}
		if len(c.spans) >= mostSegments {
			return fmt.Errorf("more than %d segments", mostSegments)
		}
		c.spans = append(c.spans, span{source: c.source, start: start, end: c.scanner.at, seq: h.Seq, run: h.Run, boot: h.Boot, now: h.Now})
	case kindReading:
		if len(c.spans) == 0 || c.spans[len(c.spans)-1].damage != nil {
			return errors.New("a reading without a segment")
		}
		c.spans[len(c.spans)-1].end = c.scanner.at
	case kindEpisode:
		var u summary
		if err := json.Unmarshal(payload, &u); err != nil {
			return fmt.Errorf("the summary of an episode: %w", err)
		}
		c.last, c.behind = &u, c.scanner.at
	case kindValues:
		return c.values(payload)
	default:
		return fmt.Errorf("a frame of kind %q: of a later program?", kind)
	}
	return nil
}

const (
	// The two kinds of values.
	firstValues = 'b'
	lastValues  = 'e'
	// mostValues is how long they may be: those of all there are of conntrack take 2 KiB.
	mostValues = 64 << 10
)

func (c *contents) values(payload []byte) error {
	if len(payload) == 0 || len(payload) > mostValues {
		return fmt.Errorf("values of %d bytes", len(payload))
	}
	var values map[string]string
	if err := json.Unmarshal(payload[1:], &values); err != nil {
		return fmt.Errorf("the values of sysctls: %w", err)
	}
	switch {
	case payload[0] == lastValues:
		c.end = values
	case c.begin == nil: // those after a restart are not from before
		c.begin = values
	}
	return nil
}

// damaged keeps what was wrong with the newest segment first.
func (c *contents) damaged(err error) *Damage {
	d := &c.damage
	if n := len(c.spans); n > 0 {
		d = &c.spans[n-1].damage
	}
	if *d == nil {
		*d = &Damage{c.source.path(), c.scanner.at, err}
	}
	return *d
}

// nextMagic finds where the next segment may begin.
func nextMagic(f io.ReaderAt, at, size int64, buf []byte) (int64, bool) {
	for at < size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if i := bytes.Index(buf[:n], magic); i >= 0 {
			return at + int64(i), true
		}
		if err != nil || n < len(magic) {
			return 0, false
		}
		at += int64(n - len(magic) + 1)
	}
	return 0, false
}

// tornAt reports whether what is wrong at the end of a file is what a crash or a power
// cut leaves: a frame that is not whole, or has zeros where it was not written.
func tornAt(f io.ReaderAt, err error, at, size int64) bool {
	switch {
	case errors.Is(err, errTorn):
		return true
	case !errors.Is(err, errSum) && !errors.Is(err, errMagic) && !errors.Is(err, errSize):
		return false
	}
	var head [binary.MaxVarintLen64]byte
	k, _ := f.ReadAt(head[:], at)
	n, width := binary.Uvarint(head[:k])
	if width <= 0 || n > maxFrame {
		n, width = 0, 1
	}
	return at+int64(width)+crc32.Size+int64(n) >= withoutZeros(f, at, size)
}

// withoutZeros is where a file ends if the zeros at its end don't count.
func withoutZeros(f io.ReaderAt, at, size int64) int64 {
	buf := make([]byte, 64<<10)
	for size > at {
		part := buf[:min(int64(len(buf)), size-at)]
		n, _ := f.ReadAt(part, size-int64(len(part)))
		if left := len(bytes.TrimRight(part[:n], "\x00")); left > 0 {
			return size - int64(len(part)) + int64(left)
		}
		size -= int64(len(part))
	}
	return at
}
