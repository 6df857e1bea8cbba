package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever a body holds, it is refused or makes a request that a daemon may rely on, and
// the client would have asked the same.
func FuzzParse(f *testing.F) {
	verbs := []Verb{Approve, Rollback, Reload, Pause, Resume}
	for i, text := range []string{`{"id":"raise-max-3f2a1"}`, `{"changes":[1,2],"force":true}`, ``, `{"seconds":1800}`, `{}`} {
		f.Add(uint8(i), []byte(text))
	}
	f.Add(uint8(1), []byte(`{"changes":[1,1]}`))
	f.Add(uint8(1), []byte(`{"all":true,"restrictions":true}`))
	f.Add(uint8(3), []byte(`{"seconds":9223372036854775807}`))
	f.Add(uint8(0), []byte("{\"id\":\"a\\u001b[2J\"} "))
	f.Fuzz(func(t *testing.T, verb uint8, text []byte) {
		v := verbs[int(verb)%len(verbs)]
		r, err := parse(v, text)
		if err != nil {
			if no := new(Refusal); !errors.As(err, &no) || no.Code != Malformed || len(no.Message) > 400 || printableASCII(no.Message) != nil {
				t.Errorf("refused with %#v", err)
			}
			return
		}
		if why := wrong(r, v); why != "" {
			t.Errorf("%s %q: %s", v, text, why)
		}
		again, err := parse(v, encode(bodyOf(r)))
		if err != nil {
			t.Fatalf("%s %q is not understood again: %v", v, text, err)
		}
		if r.Changes = slices.Clip(r.Changes); !cmp.Equal(r, again) && len(r.Changes)+len(again.Changes) > 0 {
			t.Errorf("%s", cmp.Diff(r, again))
		}
	})
}

// wrong says which promise to the daemon a request breaks.
func wrong(r Request, v Verb) string {
	given := 0
	for _, is := range []bool{len(r.Changes) > 0, r.Restrictions, r.All} {
		if is {
			given++
		}
	}
	ids := slices.Clone(r.Changes)
	slices.Sort(ids)
	switch {
	case r.Verb != v:
		return "another verb"
	case v == Approve && (r.ID == "" || len(r.ID) > idSize || printableASCII(r.ID) != nil):
		return "a bad id"
	case v == Rollback && given != 1:
		return "not one of three"
	case len(ids) > 0 && (ids[0] < 1 || len(slices.Compact(ids)) != len(r.Changes)):
		return "bad changes"
	case v == Pause && (r.For < MinPause || r.For > MaxPause):
		return "a bad pause"
	}
	return ""
}

func printableASCII(text string) error {
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' || c > '~' && c != '…' }) {
		return errors.New("it has more than printable characters")
	}
	return nil
}

// Whatever is asked, by whomever, there is an answer that a client understands, and no
// line in the journal; and only those who may command reach the daemon.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/approve HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"id\":\"a\"}",
		"POST /v1/rollback HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"DELETE /v1/status?a;b HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n{\"seconds\":1e9}", "GET //v1/%00%1b HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, root bool) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return // net/http's own
		}
		d, logged := &desk{}, new(bytes.Buffer)
		s := newServer(d, Access{group: nobody, readAll: true}, slog.New(slog.NewTextHandler(logged, nil)))
		p := &peer{uid: 4_000_000_000}
		if root {
			p.uid = 0
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(context.WithValue(t.Context(), peerKey{}, p)))
		if logged.Len() > 0 {
			t.Errorf("logged %s", logged)
		}
		if !root && len(d.done) > 0 {
			t.Errorf("a stranger had %v done", d.done)
		}
		var answer refused
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("the answer is no JSON: %v: %s", err, w.Body)
		}
		if granted := w.Code == http.StatusOK; granted == (answer.Error != nil) || granted == (s.Refused() != 0) {
			t.Errorf("%d: %s, %d refused", w.Code, w.Body, s.Refused())
		}
	})
}
