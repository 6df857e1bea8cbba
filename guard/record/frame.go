package record

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// magic begins a segment. Its last byte is the version of the frames.
var magic = []byte("\x00CTGREC\x01")

// The kinds of frames.
const (
	kindSegment = 'S'
	kindReading = 'R'
	kindEpisode = 'E'
	kindValues  = 'V'
	lower       = 'a' - 'A' // of a deflated one
)

const (
	// maxFrame is the most bytes of a payload, deflated or not.
	maxFrame = 2 << 20
	// worthwhile is the payload from which deflating it saves anything.
	worthwhile = 400
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A framer makes frames.
type framer struct {
	plain    bool // it deflates none: to do so takes most of a MiB
	deflater *flate.Writer
	small    bytes.Buffer
}

// append appends payload, deflated if it is large, as a frame. What is larger than a
// frame may be is an error, and dst is as it was.
func (f *framer) append(dst, payload []byte) ([]byte, error) {
	if len(payload) > maxFrame {
		return dst, fmt.Errorf("%d bytes, and a frame takes %d", len(payload), maxFrame)
	}
	if len(payload) >= worthwhile && !f.plain {
		if small := f.deflate(payload); len(small) < len(payload) { // or the reader refuses it
			payload = small
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	return append(dst, payload...), nil
}

func (f *framer) deflate(payload []byte) []byte {
	f.small.Reset()
	f.small.WriteByte(payload[0] + lower)
	if f.deflater == nil {
		f.deflater, _ = flate.NewWriter(&f.small, flate.BestSpeed) // fails for no level of its own
	} else {
		f.deflater.Reset(&f.small)
	}
	_, _ = f.deflater.Write(payload[1:]) // a buffer takes all
	_ = f.deflater.Close()
	return f.small.Bytes()
}

// What is wrong with a file, besides what the disk says.
var (
	errTorn  = errors.New("cut short")
	errMagic = errors.New("no magic where a segment begins")
	errSum   = errors.New("the checksum does not agree")
	errSize  = errors.New("no frame has this size")
)

// A scanner reads frames. It knows where it is.
type scanner struct {
	r        *bufio.Reader
	at       int64 // offset behind the newest frame
	passing  bool  // what a reading says is not wanted
	payload  []byte
	inflated bytes.Buffer
	inflater io.ReadCloser
}

func newScanner(r io.Reader, at int64) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 64<<10), at: at}
}

// reset goes on elsewhere.
func (s *scanner) reset(r io.Reader, at int64) {
	s.r.Reset(r)
	s.at = at
}

// next reads a frame, or magic, for which kind is 0. The payload is without its kind,
// inflated, and good until the next call. At the end the error is io.EOF.
func (s *scanner) next() (kind byte, payload []byte, err error) {
	b, err := s.r.Peek(1)
	if err != nil {
		return 0, nil, err
	}
	if b[0] == magic[0] {
		return 0, nil, s.skipMagic()
	}
	frame, err := s.frame()
	if err != nil {
		return 0, nil, err
	}
	kind, payload = frame[0], frame[1:]
	if kind >= 'a' && kind <= 'z' {
		if kind -= lower; kind == kindReading && s.passing {
			return kind, nil, nil
		}
		payload, err = s.inflate(payload)
	}
	return kind, payload, err
}

func (s *scanner) skipMagic() error {
	b, err := s.r.Peek(len(magic))
	switch {
	case bytes.Equal(b, magic):
		_, _ = s.r.Discard(len(magic)) // it is there
		s.at += int64(len(magic))
		return nil
	case errors.Is(err, io.EOF):
		return errTorn
	case err != nil:
		return err
	}
	return errMagic
}

// frame reads one frame with its kind.
func (s *scanner) frame() ([]byte, error) {
	n, err := binary.ReadUvarint(s.r)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errTorn
	case err != nil:
		return nil, err
	case n == 0 || n > maxFrame:
		return nil, fmt.Errorf("%w: %d bytes", errSize, n)
	}
	whole := int(n) + crc32.Size
	if cap(s.payload) < whole {
		s.payload = make([]byte, whole)
	}
	s.payload = s.payload[:whole]
	if _, err := io.ReadFull(s.r, s.payload); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errTorn
		}
		return nil, err
	}
	if binary.LittleEndian.Uint32(s.payload) != crc32.Checksum(s.payload[crc32.Size:], castagnoli) {
		return nil, errSum
	}
	s.at += int64(len(binary.AppendUvarint(nil, n)) + whole)
	return s.payload[crc32.Size:], nil
}

func (s *scanner) inflate(b []byte) ([]byte, error) {
	s.inflated.Reset()
	if s.inflater == nil {
		s.inflater = flate.NewReader(bytes.NewReader(b))
	} else if err := s.inflater.(flate.Resetter).Reset(bytes.NewReader(b), nil); err != nil {
		return nil, err
	}
	if _, err := s.inflated.ReadFrom(io.LimitReader(s.inflater, maxFrame+1)); err != nil {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	if s.inflated.Len() > maxFrame {
		return nil, fmt.Errorf("inflates to more than %d bytes", maxFrame)
	}
	return s.inflated.Bytes(), nil
}
