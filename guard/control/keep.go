package control

import (
	"context"
	"time"
)

// lookEvery is how often the server looks whether its socket is still there.
const lookEvery = 10 * time.Second

// Permit lets others in from now on. It can't fail: what counts is in memory. The mode of
// the socket's file follows, and a socket that is gone is looked for at once.
func (s *Server) Permit(a Access) {
	if before := s.access.Swap(&a); *before != a {
		s.mu.Lock()
		s.fit()
		s.mu.Unlock()
	}
	select {
	case s.look <- struct{}{}:
	default: // it looks already
	}
}

// fit gives the socket's file the mode that the access has. The caller holds mu.
func (s *Server) fit() {
	if err := s.access.Load().apply(s.spot); err != nil {
		s.log.Warn(err.Error() + "; the policy decides who is answered, but that mode may keep out others")
	}
}

// keep sees to it that the socket can be found, until the server is closed.
func (s *Server) keep(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.look:
		}
		if s.spot.named(s.path) {
			continue
		}
		err := s.restore()
		switch {
		case err == nil:
			s.log.Warn("the control socket was gone: " + s.path + " is made anew")
		case !failed:
			s.log.Warn("the control socket is gone, and until it can be made anew nobody can ask the daemon: " + err.Error())
		}
		failed = err != nil
	}
}

// restore makes the socket anew. What has its name by now is left alone, unless that is a
// socket on which nobody listens. Who is connected, or about to be, is still answered.
func (s *Server) restore() error {
	at, err := listen(s.path, s.access.Load())
	if err != nil {
		return err
	}
	s.serve(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spot.leave()
	s.spot = at
	s.fit() // somebody may have been permitted meanwhile
	return nil
}
