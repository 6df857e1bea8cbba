package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// echoPort is where the server answers, TCP and UDP (RFC 862).
const echoPort = 7

// An echoServer sends everything back, from real sockets in the server's stack.
type echoServer struct {
	tcp  net.Listener
	udp  []*net.UDPConn
	open sync.Map // the accepted connections
}

// startEcho listens on every address of the server. UDP has a socket per
// address, so that answers come from the address that was asked.
func startEcho(n *Namespace) (*echoServer, error) {
	s := new(echoServer)
	if err := n.Do(s.listen); err != nil {
		s.Close()
		return nil, fmt.Errorf("listen in %s: %w", n.Name, err)
	}
	go s.acceptAll()
	for _, c := range s.udp {
		go echoPackets(c)
	}
	return s, nil
}

func (s *echoServer) listen() (err error) {
	s.tcp, err = new(net.ListenConfig).Listen(context.Background(), "tcp4", fmt.Sprintf("0.0.0.0:%d", echoPort))
	if err != nil {
		return err
	}
	for i := range uint32(echoAddrs) {
		at := netip.AddrPortFrom(nth(echoNet, i+1), echoPort)
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		s.udp = append(s.udp, c)
	}
	return nil
}

func (s *echoServer) acceptAll() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return // closed
		}
		s.open.Store(c, nil)
		go func() {
			echoStream(c)
			s.open.Delete(c)
		}()
	}
}

// echoFor is how long a connection may last. A client whose entry is gone can't say
// that it has closed.
const echoFor = 10 * time.Minute

// echoStream ends when the client closes, or after echoFor. io.Copy would make
// pipes for a splice each time.
func echoStream(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(echoFor))
	var buf [2048]byte
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func echoPackets(c *net.UDPConn) {
	var buf [2048]byte
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			return // closed
		}
		_, _ = c.WriteToUDPAddrPort(buf[:n], from)
	}
}

// Close stops answering and closes what is open: a socket keeps its namespace.
func (s *echoServer) Close() {
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
	for _, c := range s.udp {
		_ = c.Close()
	}
	s.open.Range(func(c, _ any) bool {
		_ = c.(net.Conn).Close()
		return true
	})
}
