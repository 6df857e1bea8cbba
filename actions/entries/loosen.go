package entries

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/fib"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// loosenShare is the share of one CPU that loosening takes: there is time until a flow is
// tracked again.
const loosenShare = 0.5

// Loosen has the entries of a TCP flow that bypasses tracking take their connections up
// again when it is tracked again, in the table of a namespace, and returns how many there
// are. An entry knows only the window of when it last saw a packet: the packets after a
// bypass are out of it, which makes them invalid, and most rulesets drop such. So the
// window is no longer checked of these connections. It is to be called once the flow
// bypasses, so that there come no more entries of it.
//
// What has begun and not been answered yet, and what is over, is left as it is. Entries
// that go meanwhile are not missed. When the hash table is resized meanwhile it begins
// anew, three times at most, and gives up with ErrResized; n counts what was done by then
// the last time.
func Loosen(ctx context.Context, namespace string, flow nft.Flow) (n int, err error) {
	if flow.Proto != unix.IPPROTO_TCP {
		return 0, fmt.Errorf("loosen the entries of %s: protocol %d has no windows", flow.Name, flow.Proto)
	}
	err = netns.Do(namespace, func() error {
		// What this thread uses is what the walk uses.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		l := loosener{flow: flow, pace: startPace(0), local: map[netip.Addr]bool{}}
		err := l.all(ctx)
		n = l.sent.Retimed
		return err
	})
	if err != nil {
		return n, fmt.Errorf("loosen the entries of %s: %w", flow.Name, err)
	}
	return n, nil
}

// A loosener loosens the entries of one flow, in the calling thread's namespace.
type loosener struct {
	flow  nft.Flow
	pace  pace
	fib   *fib.Table
	local map[netip.Addr]bool // what was asked already
	watch watch

	batch    *ctnetlink.Batch // what one datagram had
	receives int
	sent     ctnetlink.Sent // of this attempt
	failed   error          // an entry that can't be named, or an address that can't be looked up
}

func (l *loosener) all(ctx context.Context) (err error) {
	if l.flow.Local {
		if l.fib, err = fib.Open(); err != nil {
			return err
		}
		defer l.fib.Close()
	}
	for attempt := 1; ; attempt++ {
		if err = l.attempt(ctx); !errors.Is(err, ErrResized) || attempt == attempts {
			return err
		}
	}
}

// attempt goes through the table once, or once for each query.
func (l *loosener) attempt(ctx context.Context) (err error) {
	l.sent, l.failed = ctnetlink.Sent{}, nil
	if err := l.watch.open(&[timeout.Classes]Rule{}); err != nil { // no timeout matters
		return err
	}
	defer l.watch.close()
	if l.batch, err = ctnetlink.OpenBatch(); err != nil {
		return err
	}
	defer l.batch.Close() // what is in it is not to be sent
	for _, q := range l.queries() {
		if err := l.walk(ctx, q); err != nil {
			return err
		}
		if err := l.watch.resized(); err != nil {
			return err
		}
	}
	if l.failed == nil && l.sent.Refused > 0 {
		l.failed = fmt.Errorf("%d refused: %w", l.sent.Refused, l.sent.Refusal)
	}
	return l.failed
}

// queries ask for all entries that can be of the flow. What the kernel leaves out costs a
// seventh of what it does not, so that a single port is asked for, at either end. The
// flow is not translated, or it would not bypass: its replies say the same.
func (l *loosener) queries() (list []ctnetlink.Query) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if !slices.ContainsFunc(l.flow.From, func(p netip.Prefix) bool { return p.Addr().Is4() == (family == unix.AF_INET) }) {
			continue
		}
		there := ctnetlink.Match{Proto: l.flow.Proto, DstPort: l.port()}
		list = append(list, ctnetlink.Query{Family: family, Orig: there})
		if there.DstPort != 0 {
			list = append(list, ctnetlink.Query{Family: family, Orig: ctnetlink.Match{Proto: l.flow.Proto, SrcPort: there.DstPort}})
		}
	}
	return list
}

// port is that of the flow, if it has only one.
func (l *loosener) port() uint16 {
	if len(l.flow.Ports) == 1 && l.flow.Ports[0].Low == l.flow.Ports[0].High {
		return l.flow.Ports[0].Low
	}
	return 0
}

// walk loosens what a query asks for, datagram by datagram: between dump and change there
// is then little time.
func (l *loosener) walk(ctx context.Context, q ctnetlink.Query) error {
	conn, err := ctnetlink.Open()
	if err != nil {
		return err
	}
	defer conn.Close()      // only read
	again := q.Orig.SrcPort // those to that port were in the query before
	_, err = conn.Walk(ctx, q, func(e *ctnetlink.Entry) bool {
		if (again == 0 || e.Orig.DstPort != again) && lasting(e) && l.has(e) {
			l.fail(l.batch.Loosen(e))
		}
		return true
	}, func(int) error { return l.between(ctx) })
	if err != nil {
		return err
	}
	return l.send(ctx)
}

// lasting reports whether an entry is of a connection that can go on under it. From the
// state of an unanswered SYN no later packet leads on, whatever the window.
func lasting(e *ctnetlink.Entry) bool {
	switch e.TCPState {
	case ctnetlink.TCPSynSent, ctnetlink.TCPSynSent2, ctnetlink.TCPTimeWait, ctnetlink.TCPClose:
		return false
	}
	return true
}

func (l *loosener) has(e *ctnetlink.Entry) bool {
	return l.hasTuple(e.Proto, &e.Orig) || l.hasTuple(e.Proto, &e.Reply)
}

func (l *loosener) hasTuple(proto uint8, t *ctnetlink.Tuple) bool {
	from, to := netip.AddrPortFrom(t.Src.Netip(), t.SrcPort), netip.AddrPortFrom(t.Dst.Netip(), t.DstPort)
	return l.flow.Has(proto, from, to, l.isLocal)
}

// isLocal asks once for each address.
func (l *loosener) isLocal(a netip.Addr) bool {
	is, known := l.local[a]
	if !known {
		var err error
		if is, err = l.fib.Local(a); err != nil {
			l.fail(err)
			return false
		}
		l.local[a] = is
	}
	return is
}

func (l *loosener) fail(err error) {
	if err != nil {
		l.failed = err
	}
}

// between is what is done between two receives.
func (l *loosener) between(ctx context.Context) error {
	if err := l.send(ctx); err != nil {
		return err
	}
	if l.receives++; l.receives%checkEvery == 0 {
		if err := l.watch.resized(); err != nil {
			return err
		}
	}
	wall, cpu := l.pace.used()
	owed := time.Duration((cpu/loosenShare - wall) * float64(time.Second))
	if owed < shortest {
		return nil
	}
	return pause(ctx, min(owed, longest))
}

func (l *loosener) send(ctx context.Context) error {
	if l.batch.Len() == 0 {
		return nil
	}
	sent, err := l.batch.Send(ctx)
	l.sent.Add(sent)
	return err
}
