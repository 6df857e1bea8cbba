package ctnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An entry that went between dump and delete, and was made again for the same tuple,
// is not killed if its id is another one.
func TestRootMadeAgain(t *testing.T) {
	inside(t, func() {
		e := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
		create(t, e.Family, attributes(e)...)
		c, b := open(t), openBatch(t)
		old := listed(t, c)[0]
		queue(t, b.Delete(&old))
		send(t, b, Sent{Deleted: 1})
		fill(t, 1) // takes the place in memory that the old one had
		create(t, e.Family, attributes(e)...)
		again := found(t, c, old.Orig)
		if again.ID == old.ID {
			t.Fatalf("made again with the same id %#x", old.ID)
		}
		for range 2 {
			queue(t, b.Delete(&old))
		}
		send(t, b, Sent{Gone: 2})
		if left := found(t, c, old.Orig); !sameButTime(left, again) {
			t.Errorf("%+v, want %+v", left, again)
		}
		queue(t, b.Delete(&again))
		send(t, b, Sent{Deleted: 1})
	})
}

// found is the entry of an original tuple.
func found(t *testing.T, c *Conn, orig Tuple) (e Entry) {
	t.Helper()
	for _, e := range listed(t, c) {
		if e.Orig == orig {
			return e
		}
	}
	t.Fatalf("no entry of %+v", orig)
	return e
}

// While 20,000 entries a second are deleted and made again, walks delete every entry
// of an even generation that they read, some of them 5 ms late. An entry of
// an odd generation must live until it is deleted by whoever made it, unless it has
// the id of one of the same tuple that a walk did read as even: then nothing tells
// the two apart, see Batch.
func TestRootRace(t *testing.T) {
	inside(t, func() {
		if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_events", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		m := newMaker(t)
		w := walker{batch: openBatch(t), meant: map[identity]bool{}}
		stop, stopped := make(chan struct{}), make(chan error, 1)
		go func() { stopped <- m.run(stop) }()
		start := time.Now()
		enough := func() bool { return time.Since(start) > 2*time.Second && w.sent.Gone >= 300 }
		for !enough() && time.Since(start) < 30*time.Second {
			w.walk(t)
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		for _, e := range listed(t, open(t)) {
			if id, ok := identityOf(&e); ok && m.now[id.tuple].made == id {
				m.lives(id.tuple)
			}
		}
		alike, killed := 0, 0
		for _, id := range m.missed() {
			if w.meant[id] {
				alike++
				continue
			}
			killed++
			t.Errorf("killed: %+v, which no walk meant", id)
		}
		t.Logf("%d made again, %d a second; walks: %+v, %d meant; of the same id %d", m.all, int(float64(m.all)/m.took.Seconds()), w.sent, len(w.meant), alike)
		if killed > 0 || w.sent.Gone < 300 || w.sent.Deleted < 200 || m.odd < 2000 || alike > m.odd/10 {
			t.Errorf("%d killed; %+v, %d odd made, %d alike: the race was not run", killed, w.sent, m.odd, alike)
		}
	})
}

// An identity is all that a delete names, of the entries of this test.
type identity struct {
	tuple int // the number that its source tells
	id    uint32
}

func identityOf(e *Entry) (identity, bool) {
	if e.Orig.Src[12] != 10 || e.Orig.Src[13] != 9 {
		return identity{}, false
	}
	return identity{int(e.Orig.Src[14])<<8 | int(e.Orig.Src[15]), e.ID}, true
}

// A walker deletes every even entry that it reads.
type walker struct {
	batch *Batch
	meant map[identity]bool
	sent  Sent
	parts int
}

func (w *walker) walk(t *testing.T) {
	c := openSized(t, 8<<10)
	defer c.Close()
	_, err := c.Walk(t.Context(), Query{}, func(e *Entry) bool {
		if id, ok := identityOf(e); ok && e.Mark%2 == 0 {
			w.meant[id] = true
			queue(t, w.batch.Delete(e))
		}
		return true
	}, func(int) error {
		if w.parts++; w.parts%2 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		return w.flush(t.Context())
	})
	if err := errors.Join(err, w.flush(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func (w *walker) flush(ctx context.Context) error {
	sent, err := w.batch.Send(ctx)
	w.sent.Deleted += sent.Deleted
	w.sent.Gone += sent.Gone
	if sent.Refused > 0 {
		return fmt.Errorf("refused: %w", sent.Refusal)
	}
	return err
}

// A maker deletes entries and makes them again, each time of another generation,
// which is in the mark.
type maker struct {
	fd     int
	now    [2000]generation
	all    int
	odd    int
	absent []identity // odd ones that were no longer there when they were to be deleted
	took   time.Duration
	buf    []byte
}

type generation struct {
	mark uint32
	made identity
	seen bool // alive at the end
}

const group = 20 // deleted, and then made again in the reverse order, so that few get the place in memory that they had

func newMaker(t *testing.T) *maker {
	t.Helper()
	fd, _, err := openSocket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		t.Fatal(err)
	}
	m := &maker{fd: fd, buf: make([]byte, 4096)}
	for first := 0; first < len(m.now); first += group {
		if err := m.make(first); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// run goes on at 20,000 a second, if the machine lets it.
func (m *maker) run(stop <-chan struct{}) error {
	start := time.Now()
	defer func() { m.took = time.Since(start) }()
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := m.remake(rand.IntN(len(m.now)/group) * group); err != nil {
			return err
		}
		m.all += group
		time.Sleep(time.Until(start.Add(time.Duration(m.all) * time.Second / 20_000)))
	}
}

func (m *maker) flow(i int) Entry {
	e := flow(unix.IPPROTO_UDP, fmt.Sprintf("10.9.%d.%d", i>>8, i&0xff), "192.0.2.1", 5000, 53)
	e.Mark = m.now[i].mark
	return e
}

func (m *maker) remake(first int) error {
	if err := m.delete(first); err != nil {
		return err
	}
	for i := first; i < first+group; i++ {
		m.now[i].mark++
	}
	return m.make(first)
}

// delete deletes a group, by the tuples alone.
func (m *maker) delete(first int) error {
	var batch []byte
	for i := first; i < first+group; i++ {
		e := m.flow(i)
		d := answer(ctDelete, 0, body(e.Family, nested(ctaTupleOrig, tuple(e, e.Orig)...)))
		batch = append(batch, stamped(d, unix.NLM_F_REQUEST|unix.NLM_F_ACK, i)...)
	}
	return m.exchange(batch, func(h header, body []byte) (bool, error) {
		g := &m.now[h.seq]
		switch err := result("", h, body, unix.SizeofNlMsghdr); {
		case errors.Is(err, unix.ENOENT) && g.mark%2 == 1:
			m.absent = append(m.absent, g.made)
		case err != nil && !errors.Is(err, unix.ENOENT):
			return false, err
		}
		return int(h.seq) == first+group-1, nil
	})
}

// make makes a group, and learns the ids from the echoes.
func (m *maker) make(first int) error {
	var batch []byte
	for i := first + group - 1; i >= first; i-- {
		m.odd += int(m.now[i].mark % 2)
		batch = append(batch, stamped(entry(m.flow(i)), unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_ECHO|unix.NLM_F_CREATE|unix.NLM_F_EXCL, i)...)
	}
	echoes := 0
	return m.exchange(batch, func(h header, body []byte) (bool, error) {
		if h.typ == ctNew {
			var p parser
			if err := p.parse(body); err != nil {
				return false, err
			}
			if id, ok := identityOf(&p.Entry); ok {
				m.now[id.tuple].made = id
				echoes++
			}
			return false, nil
		}
		if err := result("", h, body, unix.SizeofNlMsghdr); err != nil {
			return false, fmt.Errorf("make %d: %w", h.seq, err)
		}
		if end := int(h.seq) == first; !end || echoes == group {
			return end, nil
		}
		return false, fmt.Errorf("%d echoes of %d entries", echoes, group)
	})
}

func stamped(message []byte, flags uint16, seq int) []byte {
	binary.NativeEndian.PutUint16(message[6:], flags)
	binary.NativeEndian.PutUint32(message[8:], uint32(seq))
	binary.NativeEndian.PutUint32(message[12:], 0)
	return message
}

// exchange sends messages and hands each of the answers on, until that was the last.
func (m *maker) exchange(batch []byte, each func(header, []byte) (last bool, err error)) error {
	if _, err := unix.Write(m.fd, batch); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(m.fd, m.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		h, body, _, err := cutMessage(m.buf[:n])
		if err != nil {
			return err
		}
		if last, err := each(h, body); last || err != nil {
			return err
		}
	}
}

func (m *maker) lives(i int) { m.now[i].seen = true }

// missed are the odd ones that somebody else deleted.
func (m *maker) missed() []identity {
	list := m.absent
	for _, g := range m.now {
		if g.mark%2 == 1 && !g.seen {
			list = append(list, g.made)
		}
	}
	return list
}
