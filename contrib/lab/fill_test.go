package lab

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// Entries are exactly those asked for, seen through another library.
func TestRootFillMakesTheMixAskedFor(t *testing.T) {
	g := newTestGateway(t, Options{})
	mix := []Entries{
		{Count: 3000, Proto: unix.IPPROTO_TCP, State: Established, Assured: true, Timeout: time.Hour, Sources: 7},
		{Count: 2000, Proto: unix.IPPROTO_TCP, State: SynSent, Timeout: 100 * time.Second},
		{Count: 1000, Proto: unix.IPPROTO_UDP, Assured: true, Timeout: 50 * time.Second, Sources: 1000},
	}
	r, err := g.Fill(t.Context(), mix...)
	if err != nil || r.Created != 6000 || len(r.Errors) != 0 {
		t.Fatalf("Fill = %+v, %v, want 6000 entries", r, err)
	}
	type kind struct {
		proto, state uint8
		assured      bool
		timeout      uint32 // rounded up to 10 s
	}
	got, sources := map[kind]int{}, map[kind]map[string]bool{}
	for _, f := range entries(t, g) {
		k := kind{proto: f.TupleOrig.Proto.Protocol, assured: f.Status.Assured(), timeout: (f.Timeout + 9) / 10 * 10}
		if f.ProtoInfo.TCP != nil {
			k.state = f.ProtoInfo.TCP.State
		}
		got[k]++
		if sources[k] == nil {
			sources[k] = map[string]bool{}
		}
		sources[k][f.TupleOrig.IP.SourceAddress.String()] = true
		mirrored(t, f)
	}
	for _, e := range mix {
		k := kind{e.Proto, e.State, e.Assured, uint32(e.Timeout / time.Second)}
		if got[k] != e.Count {
			t.Errorf("%+v: %d entries, want %d", k, got[k], e.Count)
		}
		if want := max(1, e.Sources); len(sources[k]) != want {
			t.Errorf("%+v: from %d sources, want %d", k, len(sources[k]), want)
		}
	}
	if len(got) != len(mix) {
		t.Errorf("kinds of entries: %v", got)
	}
}

func mirrored(t *testing.T, f conntrack.Flow) {
	t.Helper()
	o, r := f.TupleOrig, f.TupleReply
	if o.IP.SourceAddress != r.IP.DestinationAddress || o.IP.DestinationAddress != r.IP.SourceAddress ||
		o.Proto.SourcePort != r.Proto.DestinationPort || o.Proto.DestinationPort != r.Proto.SourcePort {
		t.Fatalf("the reply %v does not mirror %v", r, o)
	}
}

// What the kernel refuses is counted with its reason.
func TestRootFillCountsRefusals(t *testing.T) {
	g := newTestGateway(t, Options{})
	lower(t, 1000)
	r, err := g.Fill(t.Context(), Entries{
		Count: 1700, Proto: unix.IPPROTO_TCP, State: Established, Assured: true, Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	// The kernel compares after it has counted the new one.
	if n := mustCount(t, g); n != r.Created || n < 999 || n > 1001 {
		t.Errorf("count is %d, created %d, want both 1000", n, r.Created)
	}
	if got := r.Errors[syscall.ENOMEM]; got != 1700-r.Created || r.Failed["ENOMEM"] != got {
		t.Errorf("errors %v, want the other %d as ENOMEM", r.Failed, 1700-r.Created)
	}
}

func TestRootFillStopsWithItsContext(t *testing.T) {
	g := newTestGateway(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := g.Fill(ctx, Entries{Count: 1000, Proto: unix.IPPROTO_UDP, Timeout: time.Minute})
	if err == nil || r.Created != 0 {
		t.Errorf("Fill = %+v, %v, want nothing and an error", r, err)
	}
}

// A walk frees what has expired, long before gc does.
func TestRootReapFreesTheExpired(t *testing.T) {
	g := newTestGateway(t, Options{})
	_, err := g.Fill(t.Context(),
		Entries{Count: 500, Proto: unix.IPPROTO_UDP, Timeout: time.Second},
		Entries{Count: 300, Proto: unix.IPPROTO_UDP, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := g.Reap(t.Context()); err != nil || n != 800 {
		t.Errorf("Reap = %d, %v, want 800", n, err)
	}
	time.Sleep(1500 * time.Millisecond)
	if n, err := g.Reap(t.Context()); err != nil || n != 300 {
		t.Errorf("after a second Reap = %d, %v, want 300", n, err)
	}
	if n := mustCount(t, g); n != 300 {
		t.Errorf("count is %d, want 300", n)
	}
}

func TestFillRefusesEntriesThatExpireAtOnce(t *testing.T) {
	if _, err := newEntryMessage(Entries{Count: 1, Proto: unix.IPPROTO_UDP}); err == nil {
		t.Error("no error for a timeout of nothing")
	}
}

// The patched places of a message are all there and do not overlap.
func TestEntryMessagePlaces(t *testing.T) {
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		m, err := newEntryMessage(Entries{Proto: proto, State: Established, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if len(m.bytes) > fillMessage || len(m.bytes)%4 != 0 {
			t.Errorf("message of %d bytes", len(m.bytes))
		}
		places := []int{m.origSrc, m.origDst, m.origPort, m.replySrc, m.replyDst, m.replyPort}
		want := []int{m.origSrc, m.origSrc + 8, m.origPort, m.replySrc, m.replySrc + 8, m.replyPort}
		for i, p := range places {
			if p < nlHeader || p != want[i] {
				t.Errorf("places %v, want %v", places, want)
				break
			}
		}
	}
}
