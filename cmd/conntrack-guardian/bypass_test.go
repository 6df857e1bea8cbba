package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

func bypassing(t *testing.T, opts lab.Options, flow string) *site {
	t.Helper()
	s := newSiteWith(t, opts)
	s.write("guardian.toml", fmt.Sprintf(`version = 1
mode = "act"
namespace = %q
[watch]
window = "2s"
calm = "1s"
[raise_max]
mode = "off"
[shorten_timeouts]
mode = "off"
[limit_source]
mode = "off"
[bypass.test]
%s
hold = "2s"
`, s.gateway.Router.Path(), flow))
	return s
}

// entriesFrom counts those of clients in a prefix.
func (s *site) entriesFrom(source netip.Prefix) (n int) {
	s.Helper()
	for _, f := range s.flows() {
		if source.Contains(f.TupleOrig.IP.SourceAddress) {
			n++
		}
	}
	return n
}

// talks has some clients make connections for two seconds, none of which may fail.
func (s *site) talks(way lab.Way) {
	s.Helper()
	load := s.gateway.StartClients(s.Context(), lab.Clients{TCP: 50, Way: way})
	time.Sleep(2 * time.Second)
	r, err := load.Stop()
	if err != nil || r.TCP.Failed > 0 || r.TCP.Attempted < 50 {
		s.Errorf("%d of %d connections failed, %v", r.TCP.Failed, r.TCP.Attempted, err)
	}
}

// A listed flow makes no entries while the table is in trouble, in either direction, and
// its connections work; afterwards it is tracked as before.
func TestRootBypass(t *testing.T) {
	s := bypassing(t, lab.Options{IPv6: true}, `from = ["fd77::/48"]
to = ["fd80::/64"]
proto = "tcp"
ports = [7]`)
	clients := netip.MustParsePrefix("fd77::/48")
	way := lab.Way{IPv6: true, Addresses: 100}
	d := s.start()
	s.talks(way)
	if n := s.entriesFrom(clients); n == 0 {
		t.Fatal("the flow is not tracked to begin with")
	}
	s.fill(55_000) // it bypasses only where that is seen to be of use
	s.until("the flow passes untracked", func() bool { return d.count("let test pass untracked") > 0 })
	before := s.entriesFrom(clients)
	s.talks(way)
	if n := s.entriesFrom(clients); n > before {
		t.Errorf("%d entries more of a flow that bypasses tracking", n-before)
	}
	s.empty()
	s.until("it is tracked again", func() bool { return d.count("track test again") > 0 })
	s.talks(way)
	if n := s.entriesFrom(clients); n == 0 {
		t.Error("the flow is not tracked any more")
	}
	d.stop()
	if c := s.changes(); len(c) != 1 || c[0].State != ledger.Undone {
		t.Errorf("changes: %+v", c)
	}
}

// A flow that is translated can't do without tracking, and is not exempt.
func TestRootBypassOfATranslatedFlowIsRefused(t *testing.T) {
	s := bypassing(t, lab.Options{}, `from = ["10.77.0.0/16"]
to = ["10.80.0.0/24"]
proto = "tcp"
ports = [7]`)
	d := s.start()
	s.talks(lab.Way{Addresses: 100})
	s.fill(55_000)
	s.until("it is refused", func() bool { return d.count("stays tracked: test, since 10.77.") > 0 })
	s.talks(lab.Way{Addresses: 100})
	if n := s.entriesFrom(netip.MustParsePrefix("10.77.0.0/16")); n == 0 {
		t.Error("the flow is not tracked")
	}
	d.stop()
	if c := s.changes(); len(c) != 0 {
		t.Errorf("changes: %+v", c)
	}
}

// stuffed marks the entries of stuff.
const stuffed = 7

// stuff fills the table so that no connection finds room.
func (s *site) stuff() {
	s.Helper()
	r, err := s.gateway.Fill(s.Context(), lab.Entries{
		Count: baseline + 1000, Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 10 * time.Minute, Sources: 100,
		Mark: stuffed,
	})
	if n, counting := s.gateway.Count(); counting != nil || n < baseline {
		s.Fatalf("%d entries, %v, %v %v", n, counting, r.Failed, err)
	}
}

// In a full table the operator gets to the gateway by the lifeline, which nobody else
// does, nor anybody anywhere else.
func TestRootLifeline(t *testing.T) {
	const port = 22
	s := bypassing(t, lab.Options{}, `lifeline = true
from = ["10.77.9.9"]
proto = "tcp"
ports = [22]`)
	if err := s.gateway.Serve(port); err != nil {
		t.Fatal(err)
	}
	gate := netip.AddrPortFrom(lab.LAN, port)
	operator := lab.Way{From: netip.MustParseAddr("10.77.9.9"), To: gate}
	other := lab.Way{From: netip.MustParseAddr("10.77.9.10"), To: gate}
	through := lab.Way{From: netip.MustParseAddr("10.77.9.9")}
	try := func(way lab.Way) bool {
		_, err := s.gateway.Try(t.Context(), way)
		return err == nil
	}
	for _, way := range []lab.Way{operator, other, through} {
		if !try(way) {
			t.Fatalf("%+v fails to begin with", way)
		}
	}
	s.empty()
	s.stuff()
	if try(operator) {
		t.Fatal("the operator gets in without a lifeline: this shows nothing")
	}
	d := s.start()
	s.until("the lifeline is there", func() bool { return d.count("let test pass untracked") > 0 })
	for range 5 {
		if !try(operator) {
			t.Error("the operator does not get in")
		}
	}
	if try(other) || try(through) {
		t.Error("others get in, too: this shows nothing")
	}
	s.empty()
	s.until("the lifeline is taken away", func() bool { return d.count("track test again") > 0 })
	if !try(operator) {
		t.Error("the operator does not get in afterwards")
	}
	d.stop()
}

// session is a connection of the operator to the gateway, until the test ends. Its
// exchange has so many bytes echoed.
func (s *site) session(from netip.Addr, to netip.AddrPort) (exchange func(bytes int) error) {
	s.Helper()
	var conn net.Conn
	err := s.gateway.Client.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: patience}
		conn, err = d.DialContext(s.Context(), "tcp", to.String())
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	said, heard := bytes.Repeat([]byte("are you still there? "), 100), make([]byte, 2100)
	return func(n int) error {
		for ; n > 0; n -= len(said) {
			if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				return err
			}
			if _, err := conn.Write(said); err != nil {
				return err
			}
			if _, err := io.ReadFull(conn, heard); err != nil || !bytes.Equal(said, heard) {
				return fmt.Errorf("heard %.50q: %w", heard, err)
			}
		}
		return nil
	}
}

// dropInvalid has the gateway drop what is no packet of a connection that it knows, as
// most rulesets do.
func (s *site) dropInvalid() {
	s.Helper()
	err := s.gateway.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "operators", Family: nftables.TableFamilyIPv4})
		chain := c.AddChain(&nftables.Chain{
			Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
		})
		invalid := binary.NativeEndian.AppendUint32(nil, expr.CtStateBitINVALID)
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{ // ct state invalid drop
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: invalid, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
	if err != nil {
		s.Fatal(err)
	}
}

// unstuff takes the entries of stuff out of the table, and no others.
func (s *site) unstuff() {
	s.Helper()
	err := s.gateway.Router.Do(func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		return errors.Join(c.FlushFilter(conntrack.NewFilter().Mark(stuffed)), c.Close())
	})
	if err != nil {
		s.Fatal(err)
	}
}

// A session that was there before the lifeline goes on under it and after it, though its
// entry has not seen what was said meanwhile and what is invalid is dropped.
func TestRootLifelineKeepsSessions(t *testing.T) {
	const port = 22
	s := bypassing(t, lab.Options{}, `lifeline = true
from = ["10.77.9.9"]
proto = "tcp"
ports = [22]`)
	if err := s.gateway.Serve(port); err != nil {
		t.Fatal(err)
	}
	s.dropInvalid()
	operator := netip.MustParseAddr("10.77.9.9")
	exchange := s.session(operator, netip.AddrPortFrom(lab.LAN, port))
	if err := exchange(1); err != nil {
		t.Fatal(err)
	}
	s.stuff()
	d := s.start()
	s.until("the session is seen to", func() bool {
		return d.count("let test pass untracked") > 0 && d.count(": 1 connection that test had before will be taken up again") > 0
	})
	if err := exchange(200_000); err != nil {
		t.Fatalf("under the lifeline: %v", err)
	}
	s.unstuff()
	s.until("it is tracked again", func() bool { return d.count("track test again") > 0 })
	if n := s.entriesFrom(netip.PrefixFrom(operator, 32)); n != 1 {
		t.Errorf("%d entries of the session: this shows nothing", n)
	}
	if err := exchange(200_000); err != nil {
		t.Errorf("after the lifeline: %v", err)
	}
	d.stop()
}
