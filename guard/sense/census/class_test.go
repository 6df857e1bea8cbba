package census

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

const (
	replied = ctnetlink.StatusSeenReply
	assured = ctnetlink.StatusSeenReply | ctnetlink.StatusAssured
)

func TestClassOfEntry(t *testing.T) {
	tcp := func(state uint8, status uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Proto: unix.IPPROTO_TCP, TCPState: state, Status: status}
	}
	other := func(proto uint8, status uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Proto: proto, Status: status}
	}
	tally := newTally(defaults())
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
		{other(unix.IPPROTO_SCTP, assured), "sctp_timeout"},
		{other(unix.IPPROTO_DCCP, assured), "generic_timeout"}, // no such keys
		{other(unix.IPPROTO_ESP, assured), "generic_timeout"},
	} {
		if got := classNames[tally.class(&c.e)]; got != c.want {
			t.Errorf("protocol %d, state %d, status %#x: %q, want %q", c.e.Proto, c.e.TCPState, c.e.Status, got, c.want)
		}
	}
}

// A connection that was picked up half-way never gets a longer timeout than the
// one of ESTABLISHED.
func TestClassOfEstablishedWithAShortTimeout(t *testing.T) {
	short := defaults()
	short.of[tcpEstablished] = 200
	e := ctnetlink.Entry{Proto: unix.IPPROTO_TCP, TCPState: ctnetlink.TCPEstablished}
	if got := newTally(short).class(&e); got != tcpEstablished {
		t.Errorf("class %s", classNames[got])
	}
}

// Silence is told only where the class says how long the timeout was.
func TestSilence(t *testing.T) {
	none, brief := defaults(), defaults()
	none.of[udp], none.of[udpStream], none.of[tcpEstablished] = 0, 0, 0
	brief.of[udp], brief.of[udpStream], brief.of[tcpEstablished] = 5, 10, 7500
	for _, c := range []struct {
		name            string
		t               timeouts
		proto, state    uint8
		status, seconds uint32
		want            int
	}{
		{"dead", defaults(), unix.IPPROTO_UDP, 0, 0, 20, 1},
		{"alive", defaults(), unix.IPPROTO_UDP, 0, 0, 21, 0},
		{"about to end", defaults(), unix.IPPROTO_UDP, 0, 0, 0, 1},
		{"of another policy", defaults(), unix.IPPROTO_UDP, 0, 0, 31, 0},
		{"dead stream", defaults(), unix.IPPROTO_UDP, 0, assured, 110, 1},
		{"live stream", defaults(), unix.IPPROTO_UDP, 0, assured, 111, 0},
		{"fixed", defaults(), unix.IPPROTO_UDP, 0, ctnetlink.StatusFixedTimeout, 1, 0},
		{"no key", none, unix.IPPROTO_UDP, 0, 0, 0, 0},
		{"under ten seconds", brief, unix.IPPROTO_UDP, 0, 0, 0, 0},
		{"ten seconds", brief, unix.IPPROTO_UDP, 0, assured, 0, 1},
		{"idle", defaults(), unix.IPPROTO_TCP, 3, assured, 424560, 1},
		{"not yet idle", defaults(), unix.IPPROTO_TCP, 3, assured, 424561, 0},
		{"long idle", defaults(), unix.IPPROTO_TCP, 3, assured, 301, 1},
		{"may wait for an answer", defaults(), unix.IPPROTO_TCP, 3, assured, 300, 0},
		{"no answer yet", defaults(), unix.IPPROTO_TCP, 3, 0, 299, 0},
		{"no key of TCP", none, unix.IPPROTO_TCP, 3, assured, 0, 0},
		{"never idle", brief, unix.IPPROTO_TCP, 3, assured, 0, 0},
		{"another state", defaults(), unix.IPPROTO_TCP, 7, assured, 400, 0},
		{"another protocol", defaults(), unix.IPPROTO_ICMP, 0, assured, 1, 0},
	} {
		e := ctnetlink.Entry{Proto: c.proto, TCPState: c.state, Status: c.status, Timeout: c.seconds}
		r := count([]ctnetlink.Entry{e}, c.t)
		if got := r.DeadUDP.Entries + r.Idle.Entries; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// An entry without a timeout of its own is of no class.
func TestClassRows(t *testing.T) {
	entry := func(seconds uint32, status uint32, offloaded bool) ctnetlink.Entry {
		return ctnetlink.Entry{
			Proto: unix.IPPROTO_TCP, TCPState: ctnetlink.TCPTimeWait,
			Timeout: seconds, Status: status, Offloaded: offloaded,
		}
	}
	entries := []ctnetlink.Entry{
		entry(3, 0, false), entry(3, 0, false), entry(100, 0, false), entry(103, 0, false), entry(500, 0, false),
		entry(7, ctnetlink.StatusFixedTimeout, false), entry(0, 0, true),
		{Proto: unix.IPPROTO_ICMP, Timeout: 30},
	}
	r := count(entries, defaults())
	if len(r.Classes) != 2 {
		t.Fatalf("%+v", r.Classes)
	}
	waits := r.Classes[0]
	if waits.Name != "tcp_timeout_time_wait" || waits.Timeout != 120 || waits.Figure != exactly(5, 8) {
		t.Errorf("%+v", waits)
	}
	want := []Bin{{3, 3, 2}, {96, 103, 2}, {480, 511, 1}}
	for i, b := range waits.Remaining {
		if len(waits.Remaining) != len(want) || b != want[i] {
			t.Errorf("bins %+v, want %+v", waits.Remaining, want)
			break
		}
	}
	if got := r.Classes[1]; got.Name != "icmp_timeout" || got.Entries != 1 {
		t.Errorf("%+v", got)
	}
}
