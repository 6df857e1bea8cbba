package record

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// format is the version of what frames hold.
const format = 1

// shape is that of the states of this program.
var shape = shapeOf(reflect.TypeFor[policy.State]())

// A header begins a segment: what is to be known before its first reading, which is
// written whole.
type header struct {
	Format  int           `json:"format"`
	Seq     uint64        `json:"seq"`  // one more in each segment
	Run     string        `json:"run"`  // of the daemon
	Boot    string        `json:"boot"` // of the kernel
	Wall    time.Time     `json:"wall"` // at Now
	Now     time.Duration `json:"now"`  // boot clock of the first reading
	Dropped uint64        `json:"dropped,omitempty"`
	// Fresh is that the daemon knew nothing then but Baseline.
	Fresh    bool            `json:"fresh,omitempty"`
	Baseline json.RawMessage `json:"baseline,omitempty"`
	Config   json.RawMessage `json:"config"`
	// State is that before the first reading, and Shape what it is made of.
	Shape string          `json:"shape"`
	State json.RawMessage `json:"state"`
}

// payload is the header as that of a frame.
func (h *header) payload() ([]byte, error) {
	text, err := json.Marshal(h)
	return append([]byte{kindSegment}, text...), err
}

func parseHeader(payload []byte) (*header, error) {
	var h header
	if err := json.Unmarshal(payload, &h); err != nil {
		return nil, fmt.Errorf("the beginning of a segment: %w", err)
	}
	if h.Format != format {
		return nil, fmt.Errorf("a record of format %d, and this program reads %d", h.Format, format)
	}
	return &h, nil
}

// setState fills in the state before the first reading.
func (h *header) setState(st *policy.State) error {
	h.Shape, h.State = shape, appendPlain(nil, st, false)
	if h.Fresh = *st == (policy.State{Baseline: st.Baseline}); !h.Fresh {
		return nil
	}
	var err error
	h.Baseline, err = json.Marshal(st.Baseline)
	return err
}

// state is that before the first reading, if this program can take it up: why says why
// it is only what it could make of it.
func (h *header) state() (st policy.State, exact bool, why string) {
	if h.Shape == shape {
		err := parsePlain(h.State, &st)
		if err == nil {
			return st, true, ""
		}
		st, why = policy.State{}, "its state can't be read: "+err.Error()
	} else {
		why = "it is by a program that keeps other things in mind"
	}
	if !h.Fresh {
		return st, false, why
	}
	if err := json.Unmarshal(h.Baseline, &st.Baseline); err != nil {
		return policy.State{}, false, "its baseline can't be read: " + err.Error()
	}
	return st, true, ""
}

// config is the policy in force at the first reading. What it does not have is as by
// default.
func (h *header) config() (*policy.Config, error) {
	c := policy.Default()
	if err := parsePlain(h.Config, &c); err != nil {
		return nil, fmt.Errorf("its policy: %w", err)
	}
	return &c, nil
}

// follows reports whether nothing is missing between two segments.
func (h *header) follows(before *header) bool {
	return h.Run == before.Run && h.Seq == before.Seq+1 && h.Dropped == 0
}
