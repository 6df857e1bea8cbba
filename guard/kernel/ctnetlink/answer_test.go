package ctnetlink

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelSays is a batch whose part of two deletes and a change of time, with the
// sequence numbers 1 to 4, is answered by what is received in turn.
func kernelSays(t testing.TB, list ...reception) *Batch {
	t.Helper()
	b := &Batch{part: partSize, patience: patience, transmit: func([]byte) error { return nil }}
	b.receive = func(buf []byte) (int, uint32, error) {
		if len(list) == 0 {
			return 0, 0, unix.EAGAIN
		}
		r := list[0]
		list = list[1:]
		return copy(buf, r.datagram), r.sender, r.err
	}
	e := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
	e.ID = 5
	queue(t, errors.Join(b.Delete(&e), b.Delete(&e), b.Retime(&e, 3)))
	return b
}

// says is an answer to the message of a sequence number and a type.
func says(seq uint32, typ uint16, code int32) reception {
	b := make([]byte, 36)
	binary.NativeEndian.PutUint32(b, 36)
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[16:], uint32(code))
	binary.NativeEndian.PutUint32(b[20:], 80)
	binary.NativeEndian.PutUint16(b[24:], typ)
	binary.NativeEndian.PutUint32(b[28:], seq)
	return reception{datagram: b}
}

func errnoOf(e unix.Errno) int32 { return -int32(e) }

// What became of each change is told by the errors there are, and only if the end is
// acknowledged.
func TestAnswers(t *testing.T) {
	end := says(4, unix.NLMSG_NOOP, 0)
	gone, refused := says(2, ctDelete, errnoOf(unix.ENOENT)), says(3, ctNew, errnoOf(unix.EPERM))
	other := gone
	other.sender = 7
	edit := func(r reception, at int, b byte) reception {
		r.datagram = slices.Clone(r.datagram)
		r.datagram[at] = b
		return r
	}
	for name, test := range map[string]struct {
		say  []reception
		want Sent
		err  error
		text string
	}{
		"all done":            {[]reception{end}, Sent{Deleted: 2, Retimed: 1}, nil, ""},
		"one gone":            {[]reception{gone, end}, Sent{Deleted: 1, Retimed: 1, Gone: 1}, nil, ""},
		"one refused":         {[]reception{refused, end}, Sent{Deleted: 2, Refused: 1, Refusal: unix.EPERM}, nil, ""},
		"all of it":           {[]reception{gone, says(1, ctDelete, errnoOf(unix.EBUSY)), refused, end}, Sent{Gone: 1, Refused: 2, Refusal: unix.EPERM}, nil, ""},
		"dying":               {[]reception{says(3, ctNew, errnoOf(unix.ETIME)), end}, Sent{Deleted: 2, Gone: 1}, nil, ""},
		"of an earlier part":  {[]reception{says(0, ctDelete, errnoOf(unix.ENOENT)), says(9, ctNew, errnoOf(unix.EPERM)), end}, Sent{Deleted: 2, Retimed: 1}, nil, ""},
		"by somebody else":    {[]reception{other, edit(other, 0, 9), end}, Sent{Deleted: 2, Retimed: 1}, nil, ""},
		"interrupted":         {[]reception{{err: unix.EINTR}, gone, {err: unix.EINTR}, end}, Sent{Deleted: 1, Retimed: 1, Gone: 1}, nil, ""},
		"no end":              {[]reception{gone}, Sent{}, errAnswersLost, ""},
		"nothing":             {nil, Sent{}, errAnswersLost, ""},
		"capability":          {[]reception{says(1, ctDelete, errnoOf(unix.EPERM))}, Sent{}, unix.EPERM, "CAP_NET_ADMIN"},
		"answers lost":        {[]reception{gone, {err: unix.ENOBUFS}}, Sent{}, errAnswersLost, ""},
		"lost, and an end":    {[]reception{{err: unix.ENOBUFS}, gone, end}, Sent{}, errAnswersLost, ""},
		"the end refused":     {[]reception{says(4, unix.NLMSG_NOOP, errnoOf(unix.EPERM))}, Sent{}, unix.EPERM, "CAP_NET_ADMIN"},
		"not asked for":       {[]reception{says(2, ctDelete, 0), end}, Sent{}, nil, "not asked for"},
		"no errno":            {[]reception{says(2, ctDelete, 5), end}, Sent{}, nil, "no errno"},
		"no errno either":     {[]reception{says(2, ctDelete, -4096), end}, Sent{}, nil, "no errno"},
		"another type":        {[]reception{edit(gone, 4, 9), end}, Sent{}, nil, "of type 0x9"},
		"cut short":           {[]reception{{datagram: gone.datagram[:30]}, end}, Sent{}, nil, "a message of 36 bytes where 30 are left"},
		"too short":           {[]reception{edit(reception{datagram: gone.datagram[:32]}, 0, 32), end}, Sent{}, nil, "16 bytes"},
		"more than there are": {[]reception{gone, gone, gone, end}, Sent{}, nil, "3 failures of 2 deletes"},
		"closed":              {[]reception{{err: unix.EBADF}}, Sent{}, unix.EBADF, ""},
	} {
		got, err := kernelSays(t, test.say...).Send(t.Context())
		fine := err == nil && test.err == nil && test.text == ""
		wrong := err != nil && (test.err == nil || errors.Is(err, test.err)) && strings.Contains(err.Error(), test.text)
		if wantsError := test.err != nil || test.text != ""; got != test.want || wantsError && !wrong || !wantsError && !fine {
			t.Errorf("%s: %+v, %v, want %+v, %v %q", name, got, err, test.want, test.err, test.text)
		}
	}
}

// Somebody who never stops sending is not listened to for ever.
func TestAnswersOfSomebodyElse(t *testing.T) {
	b := kernelSays(t)
	b.patience = 1
	b.receive = func([]byte) (int, uint32, error) { return 36, 9, nil }
	if got, err := b.Send(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) || got != (Sent{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Parts are sent in order, one after the answers to the one before; an error keeps
// the rest back.
func TestBatchParts(t *testing.T) {
	e := flow(unix.IPPROTO_UDP, "10.0.0.1", "192.0.2.1", 40001, 443)
	e.ID = 5
	for _, bad := range []int{-1, 0, 2, 3} {
		b := &Batch{part: 3}
		var sizes []int
		b.transmit = func(m []byte) error {
			if len(sizes) == bad {
				return unix.ENOBUFS
			}
			n := 0
			for at := 0; at < len(m); at += int(binary.NativeEndian.Uint32(m[at:])) {
				n++
			}
			sizes = append(sizes, n)
			return nil
		}
		b.receive = func(buf []byte) (int, uint32, error) {
			done := 0
			for _, n := range sizes {
				done += n
			}
			return copy(buf, says(uint32(done), unix.NLMSG_NOOP, 0).datagram), 0, nil
		}
		for range 10 {
			queue(t, b.Delete(&e))
		}
		got, err := b.Send(t.Context())
		want, deleted := []int{4, 4, 4, 2}, 10
		if bad >= 0 {
			want, deleted = want[:bad], 3*bad
		}
		if !slices.Equal(sizes, want) || got != (Sent{Deleted: deleted}) || errors.Is(err, unix.ENOBUFS) != (bad >= 0) || b.Len() != 0 || len(b.queue) != 0 {
			t.Errorf("%d: %v sent, %+v, %v", bad, sizes, got, err)
		}
	}
}

// Whatever the kernel answers, each change is counted once or there is an error.
func FuzzAnswers(f *testing.F) {
	f.Add(streamed(says(1, ctDelete, -2), says(3, ctNew, -1), says(4, unix.NLMSG_NOOP, 0)))
	f.Add(streamed(says(1, ctDelete, -2), says(1, ctDelete, -2), says(2, ctNew, -2), says(4, unix.NLMSG_NOOP, 0)))
	f.Add(streamed(reception{sender: 2}, says(4, unix.NLMSG_NOOP, 0)))
	f.Add(streamed(says(4, unix.NLMSG_NOOP, -2), says(4, unix.NLMSG_NOOP, 0)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		sent, err := kernelSays(t, unstreamed(stream)...).Send(t.Context())
		if sum := sent.Deleted + sent.Retimed + sent.Gone + sent.Refused; err == nil && sum != 3 || err != nil && sent != (Sent{}) {
			t.Fatalf("%+v, %v", sent, err)
		}
		if sent.Deleted < 0 || sent.Retimed < 0 || sent.Gone < 0 || sent.Refused < 0 {
			t.Fatalf("%+v", sent)
		}
	})
}
