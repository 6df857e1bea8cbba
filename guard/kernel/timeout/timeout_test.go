package timeout

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

const (
	replied = ctnetlink.StatusSeenReply
	assured = ctnetlink.StatusSeenReply | ctnetlink.StatusAssured
)

// defaults are the timeouts of a fresh kernel without DCCP.
func defaults() Table {
	t := Table{MaxRetrans: 300}
	for c, seconds := range map[Class]int{
		TCPSynSent: 120, TCPSynRecv: 60, TCPEstablished: 432000, TCPFinWait: 120, TCPCloseWait: 60,
		TCPLastAck: 30, TCPTimeWait: 120, TCPClose: 10, Unacknowledged: 300,
		UDP: 30, UDPStream: 120, ICMP: 30, ICMPv6: 30, GRE: 30, GREStream: 180, SCTPEstablished: 210, Generic: 600,
	} {
		t.Of[c] = seconds
	}
	return t
}

func TestClassOfEntry(t *testing.T) {
	tcp := func(state uint8, status uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Proto: unix.IPPROTO_TCP, TCPState: state, Status: status}
	}
	other := func(proto uint8, status uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Proto: proto, Status: status}
	}
	sctp := func(state uint8) ctnetlink.Entry {
		return ctnetlink.Entry{Proto: unix.IPPROTO_SCTP, SCTPState: state, Status: assured}
	}
	table := defaults()
	rules := table.Rules()
	for _, c := range []struct {
		e    ctnetlink.Entry
		want string
	}{
		{tcp(ctnetlink.TCPNone, 0), ""},
		{tcp(ctnetlink.TCPSynSent, 0), "tcp_timeout_syn_sent"},
		{tcp(ctnetlink.TCPSynRecv, replied), "tcp_timeout_syn_recv"},
		{tcp(ctnetlink.TCPEstablished, assured), "tcp_timeout_established"},
		{tcp(ctnetlink.TCPEstablished, replied), "tcp_timeout_established"},
		{tcp(ctnetlink.TCPEstablished, 0), "tcp_timeout_unacknowledged"},
		{tcp(ctnetlink.TCPFinWait, assured), "tcp_timeout_fin_wait"},
		{tcp(ctnetlink.TCPCloseWait, assured), "tcp_timeout_close_wait"},
		{tcp(ctnetlink.TCPLastAck, assured), "tcp_timeout_last_ack"},
		{tcp(ctnetlink.TCPTimeWait, assured), "tcp_timeout_time_wait"},
		{tcp(ctnetlink.TCPClose, 0), "tcp_timeout_close"},
		{tcp(ctnetlink.TCPSynSent2, 0), "tcp_timeout_syn_sent2"},
		{tcp(200, 0), ""},
		{other(unix.IPPROTO_UDP, 0), "udp_timeout"},
		{other(unix.IPPROTO_UDP, replied), "udp_timeout"},
		{other(unix.IPPROTO_UDP, assured), "udp_timeout_stream"},
		{other(unix.IPPROTO_UDPLITE, assured), "udp_timeout_stream"},
		{other(unix.IPPROTO_ICMP, replied), "icmp_timeout"},
		{other(unix.IPPROTO_ICMPV6, 0), "icmpv6_timeout"},
		{other(unix.IPPROTO_GRE, 0), "gre_timeout"},
		{other(unix.IPPROTO_GRE, assured), "gre_timeout_stream"},
		{sctp(ctnetlink.SCTPNone), ""},
		{sctp(ctnetlink.SCTPClosed), "sctp_timeout_closed"},
		{sctp(ctnetlink.SCTPCookieWait), "sctp_timeout_cookie_wait"},
		{sctp(ctnetlink.SCTPCookieEchoed), "sctp_timeout_cookie_echoed"},
		{sctp(ctnetlink.SCTPEstablished), "sctp_timeout_established"},
		{sctp(ctnetlink.SCTPShutdownSent), "sctp_timeout_shutdown_sent"},
		{sctp(ctnetlink.SCTPShutdownRecd), "sctp_timeout_shutdown_recd"},
		{sctp(ctnetlink.SCTPShutdownAckSent), "sctp_timeout_shutdown_ack_sent"},
		{sctp(ctnetlink.SCTPHeartbeatSent), "sctp_timeout_heartbeat_sent"},
		{sctp(ctnetlink.SCTPHeartbeatAcked), "sctp_timeout_heartbeat_acked"},
		{sctp(200), ""},
		{other(unix.IPPROTO_DCCP, assured), "generic_timeout"}, // no such keys
		{other(unix.IPPROTO_ESP, assured), "generic_timeout"},
	} {
		if got := rules.Class(&c.e).Name(); got != c.want {
			t.Errorf("protocol %d, state %d, status %#x: %q, want %q", c.e.Proto, c.e.TCPState, c.e.Status, got, c.want)
		}
	}
}

// A protocol that the kernel has no keys for is tracked by none of its own.
func TestClassWithoutKeys(t *testing.T) {
	var bare Table
	for _, proto := range []uint8{unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_GRE} {
		e := ctnetlink.Entry{Proto: proto, Status: assured}
		if got := bare.Rules().Class(&e); got != Generic {
			t.Errorf("protocol %d: %q", proto, got.Name())
		}
	}
	bare.DCCP = true
	if got := bare.Rules().Class(&ctnetlink.Entry{Proto: unix.IPPROTO_DCCP}); got != DCCP {
		t.Errorf("DCCP: %q", got.Name())
	}
}

// A connection that was picked up half-way never gets a longer timeout than the
// one of ESTABLISHED.
func TestClassOfEstablishedWithAShortTimeout(t *testing.T) {
	short := defaults()
	short.Of[TCPEstablished] = 200
	e := ctnetlink.Entry{Proto: unix.IPPROTO_TCP, TCPState: ctnetlink.TCPEstablished}
	if got := short.Rules().Class(&e); got != TCPEstablished {
		t.Errorf("class %s", got.Name())
	}
}

// Every class is found by its name, and by no other.
func TestByName(t *testing.T) {
	for c := None + 1; c < Classes; c++ {
		if got, ok := ByName(c.Name()); !ok || got != c {
			t.Errorf("%q: %d, %v, want %d", c.Name(), got, ok, c)
		}
	}
	for _, name := range []string{"", "tcp_timeout", "nf_conntrack_udp_timeout", "tcp_timeout_max_retrans"} {
		if got, ok := ByName(name); ok || got != None {
			t.Errorf("%q is %q", name, got.Name())
		}
	}
	if got := TCPTimeWait.Key(); got != "net.netfilter.nf_conntrack_tcp_timeout_time_wait" {
		t.Errorf("key %s", got)
	}
}

func TestOthers(t *testing.T) {
	table, apart := defaults(), defaults()
	apart.MaxRetrans, apart.Of[Unacknowledged], apart.Of[TCPTimeWait] = 200, 100, 150
	none := Table{}
	none.Of[TCPEstablished] = 432000
	for _, c := range []struct {
		name  string
		table Table
		class Class
		want  []int
	}{
		{"waiting, and after a reset", table, TCPEstablished, []int{10, 300}},
		{"shorter than both", table, TCPTimeWait, nil},
		{"not TCP", table, Generic, nil},
		{"two", apart, TCPEstablished, []int{10, 100, 200}},
		{"between the two", apart, TCPTimeWait, []int{100}},
		{"one of them", apart, Unacknowledged, nil},
		{"a kernel without them", none, TCPEstablished, nil},
	} {
		if got := c.table.Others(c.class); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
