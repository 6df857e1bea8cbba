package ctnetlink

import (
	"context"
	"errors"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openBatch(t testing.TB) *Batch {
	t.Helper()
	b, err := OpenBatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// send sends what is queued and expects what became of it.
func send(t testing.TB, b *Batch, want Sent) {
	t.Helper()
	got, err := b.Send(t.Context())
	if err != nil || got != want || b.Len() != 0 {
		t.Errorf("%+v, %v, %d left, want %+v", got, err, b.Len(), want)
	}
}

// sorted are entries in the order of their ids.
func sorted(found map[uint32]Entry) (list []Entry) {
	for _, id := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[id])
	}
	return list
}

// Every kind of entry can be deleted, and nothing but it goes.
func TestRootDelete(t *testing.T) {
	inside(t, func() {
		mixed(t)
		fill(t, 40)
		c, b := open(t), openBatch(t)
		before := collect(t, c, Query{})
		for _, e := range sorted(before) {
			if err := b.Delete(&e); err != nil || b.Len() != 1 {
				t.Fatalf("%+v: %v, %d queued", e, err, b.Len())
			}
			send(t, b, Sent{Deleted: 1})
			delete(before, e.ID)
			if left := collect(t, c, Query{}); !maps.EqualFunc(left, before, sameButTime) {
				t.Fatalf("without %+v: %d left, want %d", e, len(left), len(before))
			}
		}
	})
}

func sameButTime(a, b Entry) bool {
	a.Timeout = b.Timeout
	a.Use = b.Use // a master has one child less
	return a == b
}

// Every kind of entry can be given another time, and nothing else changes.
func TestRootRetime(t *testing.T) {
	inside(t, func() {
		mixed(t)
		fill(t, 40)
		c, b := open(t), openBatch(t)
		before := collect(t, c, Query{})
		for _, e := range sorted(before) {
			if err := b.Retime(&e, 100); err != nil || b.Len() != 1 {
				t.Fatalf("%+v: %v, %d queued", e, err, b.Len())
			}
			send(t, b, Sent{Retimed: 1})
			after := collect(t, c, Query{})
			if !maps.EqualFunc(after, before, sameButTime) {
				t.Fatalf("%+v: another than it, or more than its time, changed", e)
			}
			if left := after[e.ID].Timeout; left < 98 || left > 100 {
				t.Errorf("%+v: %d seconds left", e, left)
			}
			for id, other := range after {
				if id != e.ID && other.Timeout+3 < before[id].Timeout {
					t.Fatalf("%+v: %+v had %d seconds", e, other, before[id].Timeout)
				}
			}
			before = after
		}
	})
}

// A delete with another id than the entry's finds nothing: it is taken for one that
// has gone and been made again. A change of time does find it.
func TestRootOtherID(t *testing.T) {
	inside(t, func() {
		mixed(t)
		c, b := open(t), openBatch(t)
		before := collect(t, c, Query{})
		for _, e := range before {
			e.ID ^= 1 << 17
			if err := b.Delete(&e); err != nil {
				t.Fatal(err)
			}
		}
		send(t, b, Sent{Gone: len(before)})
		if left := collect(t, c, Query{}); !maps.EqualFunc(left, before, sameButTime) {
			t.Errorf("%d left of %d", len(left), len(before))
		}
		for _, e := range before {
			e.ID ^= 1 << 17
			if err := b.Retime(&e, 50); err != nil {
				t.Fatal(err)
			}
		}
		send(t, b, Sent{Retimed: len(before)})
		for id, e := range collect(t, c, Query{}) {
			if e.Timeout > 50 || before[id].Timeout < 100 {
				t.Errorf("%+v had %d seconds", e, before[id].Timeout)
			}
		}
	})
}

// What is refused is not queued, and to send nothing deletes nothing.
func TestRootRefusedEntries(t *testing.T) {
	inside(t, func() {
		mixed(t)
		c, b := open(t), openBatch(t)
		before := collect(t, c, Query{})
		refuse := func(e Entry) {
			t.Helper()
			if err := b.Delete(&e); err == nil || b.Len() != 0 {
				t.Errorf("delete %+v: %v, %d queued", e, err, b.Len())
			}
			if e.ID != 0 {
				if err := b.Retime(&e, 1); err == nil || b.Len() != 0 {
					t.Errorf("retime %+v: %v, %d queued", e, err, b.Len())
				}
			}
			send(t, b, Sent{})
		}
		refuse(Entry{})
		for _, e := range before {
			for _, spoil := range []func(*Entry){
				func(e *Entry) { e.ID = 0 },
				func(e *Entry) { e.Family = 0 },
				func(e *Entry) { e.Proto = 0 },
				func(e *Entry) { e.Orig = Tuple{} },
				func(e *Entry) { e.Zone = 9; e.OrigZone = 8 },
			} {
				spoilt := e
				spoil(&spoilt)
				refuse(spoilt)
			}
		}
		if left := collect(t, c, Query{}); !maps.EqualFunc(left, before, sameButTime) || len(left) != 15 {
			t.Errorf("%d left of %d", len(left), len(before))
		}
	})
}

// However many answers a batch has, all are counted.
func TestRootCounts(t *testing.T) {
	inside(t, func() {
		const n = 4*partSize + 17
		fill(t, n)
		c, b := open(t), openBatch(t)
		if b.part != partSize {
			t.Errorf("parts of %d messages instead of %d", b.part, partSize)
		}
		fixed := flow(unix.IPPROTO_UDP, "10.0.0.9", "192.0.2.1", 40009, 53)
		fixed.Status |= StatusFixedTimeout | StatusSeenReply | StatusAssured
		create(t, fixed.Family, attributes(fixed)...)
		list := sorted(collect(t, c, Query{}))
		want := Sent{Refusal: unix.EPERM}
		for round := range 2 {
			for i := range list {
				e := &list[i]
				switch {
				case i%3 == 0 && e.Status&StatusFixedTimeout == 0:
					queue(t, b.Delete(e))
					want.Deleted += one(round == 0)
					want.Gone += one(round == 1)
				default:
					queue(t, b.Retime(e, 500))
					want.Retimed += one(e.Status&StatusFixedTimeout == 0)
					want.Refused += one(e.Status&StatusFixedTimeout != 0)
				}
			}
		}
		if b.Len() != 2*(n+1) {
			t.Errorf("%d queued of %d", b.Len(), 2*(n+1))
		}
		send(t, b, want)
		if left := collect(t, c, Query{}); len(left) != n+1-want.Deleted || want.Refused != 2 {
			t.Errorf("%d left, %+v", len(left), want)
		}
		// All gone: as many answers as messages.
		for range 2 {
			for i := range list {
				queue(t, b.Delete(&list[i]))
			}
			got, err := b.Send(t.Context())
			if err != nil || got.Deleted+got.Gone != n+1 || got.Refused+got.Retimed != 0 {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if left := collect(t, c, Query{}); len(left) != 0 {
			t.Errorf("%d left", len(left))
		}
	})
}

func queue(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Answers that the receive buffer can't hold are not miscounted, and the batch is of
// use after it.
func TestRootAnswersLost(t *testing.T) {
	inside(t, func() {
		fill(t, 300)
		c, b := open(t), openBatch(t)
		list := sorted(collect(t, c, Query{}))
		if err := unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<10); err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i].ID++
			queue(t, b.Delete(&list[i]))
		}
		if got, err := b.Send(t.Context()); !errors.Is(err, errAnswersLost) || got != (Sent{}) {
			t.Errorf("%+v, %v", got, err)
		}
		list[0].ID--
		queue(t, b.Delete(&list[0]))
		send(t, b, Sent{Deleted: 1})
	})
}

// The end of ctx is noticed before anything is sent, and what was queued is
// forgotten; so it is by a closed batch.
func TestRootBatchEnds(t *testing.T) {
	inside(t, func() {
		fill(t, 10)
		c, b := open(t), openBatch(t)
		e := sorted(collect(t, c, Query{}))[0]
		why := errors.New("no longer wanted")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		queue(t, b.Delete(&e))
		if got, err := b.Send(ctx); !errors.Is(err, why) || got != (Sent{}) {
			t.Errorf("%+v, %v", got, err)
		}
		send(t, b, Sent{})
		queue(t, b.Delete(&e))
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if got, err := b.Send(t.Context()); !errors.Is(err, os.ErrClosed) || got != (Sent{}) {
			t.Errorf("%+v, %v", got, err)
		}
		if n := len(collect(t, c, Query{})); n != 10 {
			t.Errorf("%d left of 10", n)
		}
	})
}

// Without CAP_NET_ADMIN there is no batch; and if it is lost later, nothing counts
// as done.
func TestRootBatchWithoutCapability(t *testing.T) {
	inside(t, func() {
		fill(t, 10)
		c, b := open(t), openBatch(t)
		for _, e := range sorted(collect(t, c, Query{})) {
			queue(t, b.Delete(&e))
		}
		type outcome struct {
			sent        Sent
			send, later error
		}
		result := make(chan outcome)
		go func() {
			var o outcome
			defer func() { result <- o }()
			runtime.LockOSThread() // never unlocked: the thread dies with its lost capabilities
			var sets [2]unix.CapUserData
			if o.send = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0]); o.send != nil {
				return
			}
			o.sent, o.send = b.Send(t.Context())
			_, o.later = OpenBatch()
		}()
		o := <-result
		for _, err := range []error{o.send, o.later} {
			if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
				t.Errorf("got %v", err)
			}
		}
		if n := len(collect(t, c, Query{})); n != 10 || o.sent != (Sent{}) {
			t.Errorf("%d left of 10, %+v", n, o.sent)
		}
		send(t, b, Sent{})
	})
}

// Once a batch has been as long, it allocates nothing for an entry, nor for one that
// is gone.
func TestRootBatchAllocations(t *testing.T) {
	inside(t, func() {
		const n = 1000
		fill(t, n)
		list, b := listed(t, open(t)), openBatch(t)
		ctx := t.Context()
		if got := testing.AllocsPerRun(10, func() {
			for i := range list {
				queue(t, b.Delete(&list[i]))
				queue(t, b.Retime(&list[i], 9))
			}
			if sent, err := b.Send(ctx); err != nil || sent.Deleted+sent.Gone != 2*n {
				t.Fatal(sent, err)
			}
		}); got > 2 {
			t.Errorf("%v allocations for %d changes", got, 2*n)
		} else {
			t.Logf("%v allocations for %d changes", got, 2*n)
		}
	})
}
