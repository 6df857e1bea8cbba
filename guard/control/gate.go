package control

import (
	"net"
	"sync"
	"time"
)

// Connections at a time. A stranger is who may not command: they leave room for those who
// may, and none of them takes all that they have.
const (
	connections = 32
	strangers   = 16
	ofOneUser   = 8 // of strangers
)

// A gate is a listener that knows whom it lets in.
type gate struct {
	*net.UnixListener
	*room
}

// A room knows how many are in it, by whichever gate they came.
type room struct {
	stranger func(*peer) bool
	turned   func() // counts those that are not let in

	mu     sync.Mutex
	inside int
	users  map[uint32]int // of strangers, connections by uid
	alien  int            // their sum
}

// A visit is a connection through the gate.
type visit struct {
	net.Conn
	peer
	leave func()
}

func (v *visit) Close() error {
	v.leave()
	return v.Conn.Close()
}

// Accept waits for the next connection that there is room for.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err == nil {
			if leave := g.admit(&p); leave != nil {
				return &visit{c, p, leave}, nil
			}
		}
		g.turned()
		turnAway(c)
	}
}

// admit counts a peer in, until leave is called, or returns nil.
func (r *room) admit(p *peer) (leave func()) {
	alien := r.stranger(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inside >= connections || alien && (r.alien >= strangers || r.users[p.uid] >= ofOneUser) {
		return nil
	}
	r.count(p.uid, alien, 1)
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count(p.uid, alien, -1)
	})
}

func (r *room) count(uid uint32, alien bool, n int) {
	r.inside += n
	if !alien {
		return
	}
	r.alien += n
	if r.users[uid] += n; r.users[uid] == 0 {
		delete(r.users, uid)
	}
}

// tooMany is the whole answer to a connection that there is no room for.
var tooMany = func() []byte {
	body := encode(refused{&Refusal{Code: Busy, Message: "the daemon has too many connections: try again"}})
	return append([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"), body...)
}()

// turnAway answers without reading. The socket's buffer takes the answer at once.
func turnAway(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)) // fails on a closed one only
	_, _ = c.Write(tooMany)                                       // or the peer is gone
	c.Close()
}
