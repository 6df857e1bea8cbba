package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
)

// tailSize is how far from the end of a file the newest summary is looked for. One takes a
// few hundred bytes.
const tailSize = 4 << 10

// completeSummary reads the summary that an episode's file ends with, if the file is
// complete: the rest of it, which may be gigabytes, needs not be read then. It is nil
// otherwise.
func completeSummary(src source) (*summary, error) {
	f, err := src.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := tailOf(f)
	if err != nil {
		return nil, err
	}
	for at := len(b) - 1; at >= 0; at-- {
		n, width := binary.Uvarint(b[at:])
		if width <= 0 || n == 0 || n != uint64(len(b)-at-width-crc32.Size) {
			continue
		}
		payload := b[at+width+crc32.Size:]
		if binary.LittleEndian.Uint32(b[at+width:]) != crc32.Checksum(payload, castagnoli) {
			continue
		}
		return summaryOf(b[at:]), nil
	}
	return nil, nil
}

func tailOf(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), tailSize))
	if _, err := f.ReadAt(b, info.Size()-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// summaryOf is what a frame says, if that is the summary of a file that is complete.
func summaryOf(frame []byte) *summary {
	kind, payload, err := newScanner(bytes.NewReader(frame), 0).next()
	var u summary
	if err != nil || kind != kindEpisode || json.Unmarshal(payload, &u) != nil || !u.Complete {
		return nil
	}
	return &u
}
