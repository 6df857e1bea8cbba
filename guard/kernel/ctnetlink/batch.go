package ctnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// partSize is how many messages are sent in one write(2), and so how long the kernel
// is busy with them: a fifth of a millisecond. Deletes take it 2.7 us each when sent
// alone, 1.9 us by 4, 1.6 us by 16, and 1.4 us by 64 to 1024.
const partSize = 128

// answerRoom is more than an answer takes of a socket's receive buffer: struct
// sk_buff, and a refusal of less than 100 bytes in the smallest piece of memory that
// the kernel has for packets, 704 bytes.
const answerRoom = 2 << 10

// A Batch queues changes of single entries and sends them together. It is for one
// goroutine at a time, and stays in the network namespace that it was opened in.
//
// Each change names the entry by its original tuple and zone. A delete has the
// CTA_ID besides, and the kernel refuses it if the tuple has become another entry's.
// A change of the time left does not look at the id: it may meet a connection that
// took the tuple over, whose next packet then gives it its own timeout again. Give
// it a few seconds for that.
//
// An id is a hash of the entry's address in memory and its tuple. An entry that is
// freed and made again for the same tuple at once may well get the same address: so
// the time between the dump and the delete is better short.
type Batch struct {
	fd       int // -1 when closed
	port     uint32
	seq      uint32 // of the last message queued
	queue    []byte // whole parts, then the one that is not complete
	queued   int    // messages about entries
	open     int    // of those in the last part
	part     int    // messages of a part
	answer   [1 << 10]byte
	socket   socket
	receive  receive
	transmit func([]byte) error
	patience time.Duration // with messages of others
}

// Sent says what became of the changes.
type Sent struct {
	Deleted int
	Retimed int        // or loosened: changed, but not deleted
	Gone    int        // no longer there, or dying, or the tuple is another entry's by now
	Refused int        // by the kernel, for another reason
	Refusal unix.Errno // of the last one refused: EPERM for the time of an entry whose timeout is fixed
}

// OpenBatch opens a Batch in the calling thread's network namespace. It needs
// CAP_NET_ADMIN.
func OpenBatch() (*Batch, error) {
	fd, port, err := openSocket()
	if err != nil {
		return nil, err
	}
	b := &Batch{fd: fd, port: port, part: partSize, patience: patience}
	b.socket.wire(fd)
	b.receive, b.transmit = b.socket.poll, b.write
	if err = b.makeRoom(); err == nil {
		_, err = b.Send(context.Background()) // of nothing: it tells whether the kernel takes messages
	}
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// makeRoom makes the receive buffer hold an answer to each message of a part: an
// answer that it doesn't hold is lost. If the kernel allows no such buffer, parts
// are smaller.
func (b *Batch) makeRoom() error {
	const want = partSize * answerRoom / 2 // the kernel doubles it
	if unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) != nil {
		if err := unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, want); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	receive, err := unix.GetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_RCVBUF", err)
	}
	send, err := unix.GetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_SNDBUF", err)
	}
	b.part = partOf(receive, send)
	return nil
}

// partOf is how many messages a part may have with such buffers. Half of what is sent
// is left for what the kernel counts besides the messages.
func partOf(receive, send int) int {
	return max(1, min(partSize, receive/answerRoom, send/shapeSize/2))
}

// Close closes the socket. What is queued is forgotten.
func (b *Batch) Close() error {
	if b.fd < 0 {
		return nil
	}
	fd := b.fd
	b.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close ctnetlink socket: %w", err)
	}
	return nil
}

// Len is how many changes are queued.
func (b *Batch) Len() int { return b.queued }

// Delete queues the end of an entry, by its tuple, its zone and its id. It refuses an
// entry that lacks one of those, and then queues nothing. An id of 0 is refused too,
// which one entry in four billion has.
func (b *Batch) Delete(e *Entry) error {
	s, err := shapeOf(e)
	if err != nil {
		return fmt.Errorf("delete an entry: %w", err)
	}
	if e.ID == 0 {
		return errors.New("delete an entry: it has no id")
	}
	at := len(b.queue)
	queue := s.put(b.queue, e, ctaID, e.ID)
	if err := makeDelete(queue[at:]); err != nil {
		return err
	}
	b.push(queue, at)
	return nil
}

// Retime queues that an entry ends in so many seconds, unless a packet comes. It
// changes nothing else of it. 0 ends it now, but it is counted until the kernel
// meets it.
func (b *Batch) Retime(e *Entry, seconds uint32) error {
	s, err := shapeOf(e)
	if err != nil {
		return fmt.Errorf("change the time of an entry: %w", err)
	}
	at := len(b.queue)
	queue := s.put(b.queue, e, ctaTimeout, seconds)
	binary.NativeEndian.PutUint16(queue[at+4:], ctNew)
	b.push(queue, at)
	return nil
}

// push takes over the queue with a message more, which begins at at.
func (b *Batch) push(queue []byte, at int) {
	b.seq++
	binary.NativeEndian.PutUint32(queue[at+8:], b.seq)
	b.queue = queue
	b.queued++
	b.open++
	if b.open == b.part {
		b.endPart()
	}
}

// endPart puts a message that does nothing after those of a part. The kernel
// acknowledges it once it is through with them, and does not if it stopped before.
func (b *Batch) endPart() {
	b.seq++
	b.open = 0
	b.queue = binary.NativeEndian.AppendUint32(b.queue, unix.SizeofNlMsghdr)
	b.queue = binary.NativeEndian.AppendUint16(b.queue, unix.NLMSG_NOOP)
	b.queue = binary.NativeEndian.AppendUint16(b.queue, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b.queue = binary.NativeEndian.AppendUint32(b.queue, b.seq)
	b.queue = binary.NativeEndian.AppendUint32(b.queue, 0)
}

// Send sends what is queued, part by part, and empties the batch. An error ends it:
// what was sent by then is counted but for the part with the error, of which it is
// not known what became; what comes after it is not sent. The end of ctx is noticed,
// and its cause returned, before each part, which is before the next fifth of a millisecond; but nothing ends
// the kernel's wait for another process that changes entries (nfnl_lock).
func (b *Batch) Send(ctx context.Context) (sent Sent, err error) {
	if b.open > 0 || len(b.queue) == 0 {
		b.endPart()
	}
	for rest := b.queue; len(rest) > 0 && err == nil; {
		var p part
		if err = context.Cause(ctx); err == nil {
			p, rest = cutPart(rest)
			err = b.sendPart(&p, &sent)
		}
	}
	b.queue, b.queued, b.open = b.queue[:0], 0, 0
	if err != nil {
		return sent, fmt.Errorf("change conntrack entries: %w", err)
	}
	return sent, nil
}

// A part is the messages of one write(2).
type part struct {
	messages         []byte
	first, last      uint32 // sequence numbers; the last one's message does nothing
	deletes, retimes int
}

// cutPart takes the first part off the queue.
func cutPart(queue []byte) (p part, rest []byte) {
	p.first = binary.NativeEndian.Uint32(queue[8:])
	for at := 0; ; {
		m := queue[at:]
		at += int(binary.NativeEndian.Uint32(m))
		switch binary.NativeEndian.Uint16(m[4:]) {
		case ctDelete:
			p.deletes++
		case ctNew:
			p.retimes++
		default:
			p.last = binary.NativeEndian.Uint32(m[8:])
			p.messages = queue[:at]
			return p, queue[at:]
		}
	}
}

// sendPart sends a part and adds what became of it to sent.
func (b *Batch) sendPart(p *part, sent *Sent) error {
	if b.fd < 0 {
		return os.ErrClosed
	}
	if err := b.transmit(p.messages); err != nil {
		return err
	}
	var bad failures
	if err := b.answers(p, &bad); err != nil {
		return err
	}
	if bad.deletes > p.deletes || bad.retimes > p.retimes {
		return fmt.Errorf("%d failures of %d deletes and %d of %d other changes", bad.deletes, p.deletes, bad.retimes, p.retimes)
	}
	sent.Deleted += p.deletes - bad.deletes
	sent.Retimed += p.retimes - bad.retimes
	sent.Gone += bad.gone
	sent.Refused += bad.deletes + bad.retimes - bad.gone
	if bad.refusal != 0 {
		sent.Refusal = bad.refusal
	}
	return nil
}

// write sends messages; the kernel is through with them when it returns.
func (b *Batch) write(messages []byte) error {
	for {
		_, err := unix.Write(b.fd, messages) // without an address: to the kernel
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("write", err)
		}
	}
}
