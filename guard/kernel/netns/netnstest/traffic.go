package netnstest

import (
	"net"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// Track brings the loopback up and hooks conntrack into the calling thread's
// namespace, as a rule that looks at a packet's state does.
func Track(t testing.TB) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "track"})
	chain := c.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// SendUDP sends a packet each to n ports of the loopback, which is an entry
// each where conntrack is hooked in.
func SendUDP(t testing.TB, n int) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for port := range n {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 20000 + port}
		if _, err := conn.WriteToUDP([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
	}
}

// SendInvalid sends n TCP segments without any flag, which fit no entry. Each
// meets conntrack on its way out, and may meet it again on its way in.
func SendInvalid(t testing.TB, n int) {
	t.Helper()
	conn, err := net.Dial("ip4:tcp", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	segment := make([]byte, 20)
	segment[12] = 5 << 4 // header length in words
	for range n {
		if _, err := conn.Write(segment); err != nil {
			t.Fatal(err)
		}
	}
}
