package census

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

const (
	replied = ctnetlink.StatusSeenReply
	assured = ctnetlink.StatusSeenReply | ctnetlink.StatusAssured
)

// Silence is told only where the class says how long the timeout was.
func TestSilence(t *testing.T) {
	none, brief := defaults(), defaults()
	none.Of[timeout.UDP], none.Of[timeout.UDPStream], none.Of[timeout.TCPEstablished] = 0, 0, 0
	brief.Of[timeout.UDP], brief.Of[timeout.UDPStream], brief.Of[timeout.TCPEstablished] = 5, 10, 7500
	for _, c := range []struct {
		name            string
		t               timeout.Table
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
	want := []Bin{{3, 3, 2, 0}, {96, 103, 2, 0}, {480, 511, 1, 0}}
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
