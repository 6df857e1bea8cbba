package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

const (
	format  = 1       // of the file, named in its first record
	maxLine = 1 << 20 // bytes of the longest line, newline included
	sumLen  = 9       // bytes of the checksum and the space after it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is what one line holds: exactly one of these.
type record struct {
	Header *header  `json:"ledger,omitempty"`
	Change *Change  `json:"change,omitempty"` // a change as it is first intended, or folded by a compaction
	Step   *step    `json:"step,omitempty"`
	Judged *verdict `json:"judged,omitempty"`
	Walked *walked  `json:"walked,omitempty"`
}

// A header is the first record of every ledger.
type header struct {
	Format int `json:"format"`
	Next   int `json:"next"` // the identifier that the next change gets
}

// A step brings a change to its next state.
type step struct {
	ID      int           `json:"id"`
	State   State         `json:"state"`
	Note    string        `json:"note,omitempty"`
	Yielded []string      `json:"yielded,omitempty"` // keys lost with this step
	Boot    string        `json:"boot"`
	Wall    time.Time     `json:"wall"`
	Since   time.Duration `json:"since"` // CLOCK_BOOTTIME in nanoseconds
}

// A verdict says whether a change helped.
type verdict struct {
	ID      int    `json:"id"`
	Outcome string `json:"outcome"`
}

// encode returns the line of r, newline included.
func encode(r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode ledger record: %w", err)
	}
	line := make([]byte, 0, sumLen+len(body)+1)
	line = append(line, sum(body)...)
	line = append(line, ' ')
	line = append(line, body...)
	line = append(line, '\n')
	if len(line) > maxLine {
		return nil, fmt.Errorf("encode ledger record: %d bytes, at most %d fit a line", len(line), maxLine)
	}
	return line, nil
}

// decode is the inverse of encode for a line without its newline.
func decode(line []byte) (record, error) {
	var r record
	if len(line) < sumLen || line[sumLen-1] != ' ' {
		return r, errors.New("no checksum")
	}
	body := line[sumLen:]
	if want := sum(body); want != string(line[:sumLen-1]) {
		return r, fmt.Errorf("the checksum is %q, the content's is %s", line[:sumLen-1], want)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("not a record: %w", err)
	}
	return r, nil
}

// sum is compared as text: a digit whose case has flipped is damage, too.
func sum(body []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli))
}

// swallowed reports whether a bad last line begins with a whole record: then
// it is not one write cut short, but two lines whose newline was lost. One
// byte more than the record may be its own newline, badly written.
func swallowed(line []byte) bool {
	if len(line) < sumLen || line[sumLen-1] != ' ' {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(line[sumLen:]))
	var body json.RawMessage
	if dec.Decode(&body) != nil {
		return false
	}
	end := sumLen + int(dec.InputOffset())
	return end+1 < len(line) && sum(line[sumLen:end]) == string(line[:sumLen-1])
}
