package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Each phase of a request ends within these.
const (
	headerTime = 2 * time.Second  // reading the header
	readTime   = 4 * time.Second  // reading all of it
	statusTime = 3 * time.Second  // the daemon's status
	doTime     = 30 * time.Second // the daemon's answer: an undo waits for the kernel
	writeTime  = 2 * time.Second  // sending the answer
	leaveTime  = time.Second      // from Close on
)

// The sizes of a request in bytes. The server reads 4 KiB beyond what it is told for the
// header.
const (
	headerSize = 8<<10 - 4<<10
	bodySize   = 4 << 10
)

// A Server answers on the control socket.
type Server struct {
	daemon  Daemon
	log     *slog.Logger
	path    string
	access  atomic.Pointer[Access]
	refused atomic.Uint64
	status  cache
	http    http.Server
	room    room
	look    chan struct{}  // has the keeper look at once
	stop    func()         // ends the keeper
	keeping sync.WaitGroup // the keeper
	serving sync.WaitGroup // those that accept connections

	mu   sync.Mutex
	spot *spot // another one only by the keeper
}

// Listen makes the socket and answers on it until Close. A socket that is left of a dead
// daemon is replaced; that of a living one is an *InUseError. Only a failure of the server
// itself is logged.
func Listen(path string, d Daemon, a Access, log *slog.Logger) (*Server, error) {
	return listenAndLook(path, d, a, log, lookEvery)
}

func listenAndLook(path string, d Daemon, a Access, log *slog.Logger, every time.Duration) (*Server, error) {
	at, err := listen(path, &a)
	if err != nil {
		return nil, err
	}
	s := newServer(d, a, log)
	s.path, s.spot = path, at
	s.serve(at)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.keeping.Go(func() { s.keep(ctx, every) })
	return s, nil
}

func newServer(d Daemon, a Access, logger *slog.Logger) *Server {
	s := &Server{daemon: d, log: logger, look: make(chan struct{}, 1)}
	s.access.Store(&a)
	s.room = room{
		stranger: func(p *peer) bool { return s.access.Load().of(p) < commands },
		turned:   func() { s.refused.Add(1) },
		users:    map[uint32]int{},
	}
	s.status.turn = make(chan struct{}, 1)
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      readTime + doTime + writeTime, // set anew for each answer
		MaxHeaderBytes:    headerSize,
		ErrorLog:          log.New(io.Discard, "", 0), // requests can write to it
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, &c.(*visit).peer)
		},
		DisableGeneralOptionsHandler: true,
	}
	s.http.SetKeepAlivesEnabled(false)
	return s
}

// peerKey is the context's key of the peer.
type peerKey struct{}

// serve answers those who come to a spot.
func (s *Server) serve(at *spot) {
	s.serving.Go(func() {
		err := s.http.Serve(&gate{at.listener, &s.room})
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) { // or it was left
			s.log.Error("the control socket is dead: " + err.Error())
		}
	})
}

// Refused is how many connections and requests were refused, malformed ones included.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Close takes the socket away, and gives the requests under way a second.
func (s *Server) Close() error {
	s.stop()
	s.keeping.Wait()
	err := s.remove()
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil { // in time
		err = errors.Join(err, s.http.Close())
	}
	s.serving.Wait()
	s.spot.close()
	return err
}

// remove unlinks the socket, unless it is another's by now.
func (s *Server) remove() error {
	if !s.spot.named(s.path) {
		return nil
	}
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("remove the control socket: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := s.answer(w, r)
	code := http.StatusOK
	if err != nil {
		var refusal *Refusal
		code, refusal = judge(err)
		body = encode(refused{refusal})
		s.refused.Add(1)
	}
	conn := http.NewResponseController(w) // what fails on it is noticed when the answer is sent
	_ = conn.SetReadDeadline(time.Now())  // net/http would go on reading what is left of a body
	_ = conn.SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(body) // or the peer is gone
}

// answer finds the body of the answer. What breaks here, outside of the daemon's loop, is
// no reason to stop guarding.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error(fmt.Sprintf("answering a request on the control socket broke: %v", p), slog.String("ERROR", string(debug.Stack())))
			err = &Refusal{Code: Fault, Message: "the daemon could not answer: its journal says why"}
		}
	}()
	p := r.Context().Value(peerKey{}).(*peer)
	way, err := s.route(r, p)
	if err != nil {
		return nil, err
	}
	return way(w, r, p)
}
