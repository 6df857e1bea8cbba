package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A body is what a verb takes, as JSON. It fills in the request, or refuses.
type body interface{ request(*Request) error }

// bodies makes those of each verb.
var bodies = map[Verb]func() body{
	Approve:  func() body { return new(approveBody) },
	Rollback: func() body { return new(rollbackBody) },
	Reload:   func() body { return new(emptyBody) },
	Pause:    func() body { return new(pauseBody) },
	Resume:   func() body { return new(emptyBody) },
}

type emptyBody struct{}

type approveBody struct {
	ID string `json:"id"`
}

type rollbackBody struct {
	Changes      []int `json:"changes,omitempty"`
	Restrictions bool  `json:"restrictions,omitempty"`
	All          bool  `json:"all,omitempty"`
	Force        bool  `json:"force,omitempty"`
}

type pauseBody struct {
	Seconds int64 `json:"seconds"`
}

// parse reads a body, with nothing in it that the verb does not take. Empty is {}.
func parse(v Verb, text []byte) (Request, error) {
	r, b := Request{Verb: v}, bodies[v]()
	if len(bytes.TrimSpace(text)) > 0 {
		if err := decode(text, b); err != nil {
			return r, refuse(Malformed, "the body is not what %s takes: %s", v, fault(err))
		}
	}
	return r, b.request(&r)
}

// decode reads one JSON value and nothing behind it.
func decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value")
	}
	return nil
}

// fault says what is wrong with a body, with no text of the peer's that is not quoted.
func fault(err error) string {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return "it is no object"
	case errors.As(err, &kind):
		found, _, _ := strings.Cut(kind.Value, " ") // with a number comes its text
		return fmt.Sprintf("%q can't be of the type %s", kind.Field, found)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "it is not JSON"
	}
	name, unknown := strings.CutPrefix(err.Error(), "json: unknown field ")
	if !unknown {
		return quote(err.Error())
	}
	if name, err := strconv.Unquote(name); err == nil {
		return quote(name) + " is no field of it"
	}
	return "it has a field that is none of it"
}

func (emptyBody) request(*Request) error { return nil }

// idSize is the size of the longest id in bytes.
const idSize = 64

func (b *approveBody) request(r *Request) error {
	r.ID = b.ID
	odd := func(c rune) bool { return c <= ' ' || c > '~' }
	if b.ID == "" || len(b.ID) > idSize || slices.ContainsFunc([]rune(b.ID), odd) {
		return refuse(Malformed, "id is that of an advice, such as raise-max-3f2a1")
	}
	return nil
}

func (b *rollbackBody) request(r *Request) error {
	r.Changes, r.Restrictions, r.All, r.Force = b.Changes, b.Restrictions, b.All, b.Force
	given := 0
	for _, is := range []bool{len(b.Changes) > 0, b.Restrictions, b.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return refuse(Malformed, "rollback takes changes, restrictions or all, one of the three")
	}
	for i, id := range b.Changes {
		if id < 1 || slices.Contains(b.Changes[:i], id) {
			return refuse(Malformed, "changes are ids from 1, none of them twice")
		}
	}
	return nil
}

func (b *pauseBody) request(r *Request) error {
	const least, most = int64(MinPause / time.Second), int64(MaxPause / time.Second)
	if b.Seconds < least || b.Seconds > most {
		return refuse(Malformed, "seconds are %d to %d", least, most)
	}
	r.For = time.Duration(b.Seconds) * time.Second
	return nil
}
