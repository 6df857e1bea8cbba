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
	tcp  net.Listener // nil if it could not be had
	udp  []*net.UDPConn
	open sync.Map // the accepted connections
}

// startEcho listens for TCP on every address of the namespace and for UDP on those
// given. UDP has a socket per address, so that answers come from the address that was
// asked.
func startEcho(n *Namespace, port uint16, udp ...netip.Addr) (*echoServer, error) {
	s := new(echoServer)
	if err := n.Do(func() error { return s.listen(port, udp) }); err != nil {
		s.Close()
		return nil, fmt.Errorf("listen on port %d in %s: %w", port, n.Name, err)
	}
	go s.acceptAll()
	for _, c := range s.udp {
		go echoPackets(c)
	}
	return s, nil
}

// echoAddr is the n-th of the server's addresses.
func echoAddr(ipv6 bool, n uint32) netip.Addr {
	if ipv6 {
		return plus(echoNet6.Addr(), 1+n)
	}
	return plus(echoNet.Addr(), 1+n)
}

func (s *echoServer) listen(port uint16, udp []netip.Addr) (err error) {
	s.tcp, err = new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	for _, a := range udp {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
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
