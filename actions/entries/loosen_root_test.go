package entries_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// loosened compares which TCP entries are loose with which shall be, and returns how many
// are.
func loosened(t *testing.T, g *lab.Gateway, want func(*conntrack.Flow) bool) (n int) {
	t.Helper()
	err := g.Router.Do(func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close()
		flows, err := c.Dump(nil)
		for i := range flows {
			f := &flows[i]
			tcp := f.ProtoInfo.TCP
			is := tcp != nil && beLiberal(tcp.OriginalFlags) && beLiberal(tcp.ReplyFlags)
			if is != want(f) {
				t.Errorf("loose is %v: %v, %+v", is, f.TupleOrig, tcp)
			}
			if is {
				n++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// beLiberal looks for the flag in one direction's: IP_CT_TCP_FLAG_BE_LIBERAL, in the
// first byte of two.
func beLiberal(flags uint16) bool { return flags>>8&0x08 != 0 }

// tighten has the windows of all entries checked: of those that were filled in they are
// not, as they saw no packet.
func tighten(t *testing.T, g *lab.Gateway) {
	t.Helper()
	err := g.Router.Do(func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close()
		flows, err := c.Dump(nil)
		for _, f := range flows {
			if tcp := f.ProtoInfo.TCP; tcp != nil && err == nil {
				tcp.OriginalFlags, tcp.ReplyFlags = 0x0008, 0x0008 // none of the flag that is meant
				err = c.Update(conntrack.Flow{TupleOrig: f.TupleOrig, TupleReply: f.TupleReply, ProtoInfo: f.ProtoInfo})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func loosen(t *testing.T, g *lab.Gateway, f nft.Flow) int {
	t.Helper()
	n, err := entries.Loosen(t.Context(), g.Router.Path(), f)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// inEveryState are entries of TCP on some ports, of two clients and two servers, over both
// families and in every state.
func inEveryState() (mix []lab.Entries) {
	for state := lab.SynSent; state <= lab.SynSent2; state++ {
		e := tcp(48, state, 3600)
		e.Sources, e.Destinations, e.Ports = 2, 2, []uint16{442, 443, 444, 8100}
		six := e
		six.Family = 6
		mix = append(mix, e, six)
	}
	datagrams := udp(20, 3600)
	datagrams.Sources, datagrams.Ports = 2, []uint16{443}
	return append(mix, datagrams)
}

// Of a flow all is loosened that lasts, and nothing else, whichever way round its entries
// are.
func TestRootLoosen(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, inEveryState()...)
	var four, six, server string
	for _, e := range table(t, g) {
		if e.Proto != unix.IPPROTO_TCP || e.TCPState != lab.Established {
			continue
		}
		if e.Family == unix.AF_INET6 {
			six = e.Orig.Src.Netip().String()
			continue
		}
		four, server = e.Orig.Src.Netip().String(), e.Orig.Dst.Netip().String()
	}
	both, all := prefixes(four+"/32", six+"/128"), prefixes("0.0.0.0/0", "::/0")
	flow := func(name string, from, to []netip.Prefix, ports ...nft.Ports) nft.Flow {
		return nft.Flow{Name: name, From: from, To: to, Proto: unix.IPPROTO_TCP, Ports: ports}
	}
	for _, tc := range []struct {
		flow    nft.Flow
		clients string
		server  string // empty for any
		ports   []uint16
		want    int
	}{
		{flow("one", both[:1], prefixes(server+"/32"), nft.Ports{Low: 443, High: 443}), four, server, []uint16{443}, 5 * 48 / 16},
		{flow("turned", prefixes(server+"/32"), both[:1], nft.Ports{Low: 1, High: 65535}), four, server, []uint16{442, 443, 444, 8100}, 5 * 48 / 4},
		{flow("web", both, all, nft.Ports{Low: 443, High: 443}, nft.Ports{Low: 8000, High: 8100}), four + " " + six, "", []uint16{443, 8100}, 2 * 5 * 48 / 4},
	} {
		tighten(t, g)
		for _, time := range []string{"first", "second"} {
			if n := loosen(t, g, tc.flow); n != tc.want {
				t.Errorf("%s: %d loosened the %s time, want %d", tc.flow.Name, n, time, tc.want)
			}
		}
		loose := loosened(t, g, func(f *conntrack.Flow) bool {
			o := &f.TupleOrig
			return f.ProtoInfo.TCP != nil && lasts(f.ProtoInfo.TCP.State) && slices.Contains(tc.ports, o.Proto.DestinationPort) &&
				slices.Contains(strings.Fields(tc.clients), o.IP.SourceAddress.String()) && (tc.server == "" || o.IP.DestinationAddress.String() == tc.server)
		})
		if loose != tc.want {
			t.Errorf("%s: %d are loose, want %d", tc.flow.Name, loose, tc.want)
		}
	}
}

// lasts reports whether a connection in a state is not over, and more than asked for.
func lasts(state uint8) bool { return lab.SynRecv <= state && state <= lab.LastAck }

// A lifeline has what goes to the gateway itself, and nothing that goes through it.
func TestRootLoosenLifeline(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	if err := g.Serve(22); err != nil {
		t.Fatal(err)
	}
	through := tcp(50, lab.Established, 3600)
	through.Ports = []uint16{22}
	fill(t, g, through)
	tighten(t, g)
	gate := netip.AddrPortFrom(lab.LAN, 22)
	for _, w := range []lab.Way{{From: netip.MustParseAddr("10.77.9.9"), To: gate}, {From: netip.MustParseAddr("10.77.9.8"), To: gate}} {
		c, err := g.ConnectBy(t.Context(), 3, w)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	f := nft.Flow{Name: "ssh", From: prefixes("10.77.9.9/32"), Proto: unix.IPPROTO_TCP, Ports: []nft.Ports{{Low: 22, High: 22}}, Local: true}
	if n := loosen(t, g, f); n != 3 {
		t.Errorf("%d of 3 loosened", n)
	}
	loosened(t, g, func(c *conntrack.Flow) bool { return c.TupleOrig.IP.SourceAddress == f.From[0].Addr() })
	f.From = prefixes("0.0.0.0/0")
	if n := loosen(t, g, f); n != 6 {
		t.Errorf("%d of 6 loosened", n)
	}
	loosened(t, g, func(c *conntrack.Flow) bool { return c.TupleOrig.IP.DestinationAddress == lab.LAN })
}

// A table that is resized again and again is given up, and so is one that somebody calls
// off; what is no TCP is none of its business.
func TestRootLoosenEnds(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, tcp(60_000, lab.Established, 3600))
	f := nft.Flow{Name: "web", From: prefixes("0.0.0.0/0"), To: prefixes("0.0.0.0/0"), Proto: unix.IPPROTO_TCP, Ports: []nft.Ports{{Low: 443, High: 444}}}
	sizes, err := lab.ReadSizes()
	if err != nil {
		t.Fatal(err)
	}
	defer resize(t, sizes.Buckets)
	ended := make(chan error)
	go func() {
		_, err := entries.Loosen(t.Context(), g.Router.Path(), f)
		ended <- err
	}()
	for i := 0; ; i++ {
		select {
		case err := <-ended:
			if !errors.Is(err, entries.ErrResized) || i < 4 {
				t.Errorf("after %d resizes: %v", i, err)
			}
		case <-time.After(time.Millisecond):
			resize(t, sizes.Buckets+i%64*512)
			continue
		}
		break
	}
	why := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if n, err := entries.Loosen(ctx, g.Router.Path(), f); !errors.Is(err, why) || n != 0 {
		t.Errorf("called off: %d, %v", n, err)
	}
	f.Proto = unix.IPPROTO_UDP
	if n, err := entries.Loosen(t.Context(), g.Router.Path(), f); err == nil || n != 0 {
		t.Errorf("of UDP: %d, %v", n, err)
	}
	f.Proto = unix.IPPROTO_TCP
	if n := loosen(t, g, f); n != 60_000 {
		t.Errorf("%d of 60000 loosened", n)
	}
}
