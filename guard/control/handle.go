package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A way is how a request is answered.
type way func(http.ResponseWriter, *http.Request, *peer) ([]byte, error)

// route finds what answers a request, if the peer may ask for it.
func (s *Server) route(r *http.Request, p *peer) (way, error) {
	access := s.access.Load()
	may := access.of(p)
	if may == nothing {
		return nil, refuse(Forbidden, "%s may not use the control socket: %s may", p.name(), access.who())
	}
	name, ok := strings.CutPrefix(r.URL.Path, fmt.Sprintf("/v%d/", Version))
	verb := Verb(name)
	switch {
	case ok && name == "status" && r.Method == http.MethodGet:
		return s.answerStatus, nil
	case ok && name == "status":
		return nil, refuse(Malformed, "%s takes GET", quote(r.URL.Path))
	case !ok || bodies[verb] == nil:
		return nil, refuse(NoPath, "there is nothing at %s", quote(r.URL.Path))
	case r.Method != http.MethodPost:
		return nil, refuse(Malformed, "%s takes POST", quote(r.URL.Path))
	case may < commands:
		return nil, refuse(Forbidden, "%s may not %s: %s may", p.name(), verb, access.who())
	}
	return func(w http.ResponseWriter, r *http.Request, p *peer) ([]byte, error) {
		return s.answerDo(w, r, p, verb)
	}, nil
}

func (s *Server) answerStatus(_ http.ResponseWriter, r *http.Request, _ *peer) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), statusTime)
	defer cancel()
	return s.status.get(ctx, s.daemon.Status)
}

func (s *Server) answerDo(w http.ResponseWriter, r *http.Request, p *peer, verb Verb) ([]byte, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodySize))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, refuse(Malformed, "the body has more than %d bytes", bodySize)
	case err != nil:
		return nil, refuse(Malformed, "the body could not be read")
	}
	request, err := parse(verb, text)
	if err != nil {
		return nil, err
	}
	request.By = p.name()
	ctx, cancel := context.WithTimeout(r.Context(), doTime)
	defer cancel()
	answer, err := s.daemon.Do(ctx, request)
	s.status.outdate()
	if err != nil {
		return nil, err
	}
	return encode(answer), nil
}

// judge turns an error into an answer.
func judge(err error) (status int, refusal *Refusal) {
	switch {
	case errors.As(err, &refusal):
	case errors.Is(err, context.Canceled): // net/http reads on, and takes the end for the peer's leaving
		refusal = &Refusal{Code: Busy, Message: "the connection was closed, or its half to the daemon, before there was an answer: keep it open"}
	case errors.Is(err, context.DeadlineExceeded):
		refusal = &Refusal{Code: Busy, Message: "the daemon gave no answer in time: its loop is busy or hangs"}
	default:
		refusal = &Refusal{Code: Fault, Message: err.Error()}
	}
	switch refusal.Code {
	case Malformed:
		return http.StatusBadRequest, refusal
	case Forbidden:
		return http.StatusForbidden, refusal
	case NotFound, NoPath:
		return http.StatusNotFound, refusal
	case Busy:
		return http.StatusServiceUnavailable, refusal
	case Fault:
		return http.StatusInternalServerError, refusal
	}
	return http.StatusConflict, refusal
}

func refuse(c Code, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Message: fmt.Sprintf(format, args...)}
}

// quote quotes text of a peer's, as much of it as a message needs.
func quote(text string) string {
	const enough = 64
	if len(text) > enough {
		return fmt.Sprintf("%+q…", text[:enough])
	}
	return fmt.Sprintf("%+q", text)
}

// encode writes what can always be written: v is one of ours.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Errorf("encode %T: %w", v, err))
	}
	return b.Bytes()
}
