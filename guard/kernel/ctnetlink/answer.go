package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// failures counts the messages of a part that the kernel answered with an error. It
// answers those without being asked to.
type failures struct {
	deletes, retimes int
	gone             int        // of both
	refusal          unix.Errno // of the last one that was not gone
}

var errAnswersLost = errors.New("the kernel lost answers, so it is not known which entries were changed")

// answers reads the answers to a part: errors, then the acknowledgement of its end.
// They are all there already.
func (b *Batch) answers(p *part, bad *failures) error {
	until := time.Time{}
	lost := false
	for {
		n, sender, err := b.receive(b.answer[:])
		switch {
		case err == nil && sender == 0:
			if ended, err := p.answer(b.answer[:min(n, len(b.answer))], bad); err != nil || ended {
				return answersError(err, lost)
			}
		case errors.Is(err, unix.ENOBUFS):
			lost = true
		case errors.Is(err, unix.EAGAIN):
			return p.unfinished(bad, lost)
		case err == nil, errors.Is(err, unix.EINTR):
			if until.IsZero() {
				until = time.Now().Add(b.patience)
			} else if time.Now().After(until) {
				return fmt.Errorf("the kernel's answers did not come within %v: %w", b.patience, os.ErrDeadlineExceeded)
			}
		default:
			return os.NewSyscallError("recvmsg", err)
		}
	}
}

func answersError(err error, lost bool) error {
	if err == nil && lost {
		return errAnswersLost
	}
	return err
}

// unfinished says why a part's end was not acknowledged. A process that lacks the
// capability is answered once, and none of its messages is looked at.
func (p *part) unfinished(bad *failures, lost bool) error {
	if !lost && bad.refusal != 0 {
		return fmt.Errorf("%w, and the kernel did not come to the end of the messages", refusal(bad.refusal))
	}
	return errAnswersLost
}

// answer reads one answer. Those to earlier parts, whose answers were not waited for
// after an error, are skipped.
func (p *part) answer(b []byte, bad *failures) (ended bool, err error) {
	h, body, _, err := cutMessage(b)
	if err != nil {
		return false, err
	}
	if h.seq-p.first > p.last-p.first {
		return false, nil
	}
	const least = 4 + unix.SizeofNlMsghdr // the result and the message's header
	if h.typ != unix.NLMSG_ERROR || len(body) < least {
		return false, fmt.Errorf("an answer of type %#x and %d bytes", h.typ, len(body))
	}
	code := int32(binary.NativeEndian.Uint32(body))
	if code > 0 || code < -4095 { // MAX_ERRNO
		return false, fmt.Errorf("an answer with the result %d, which is no errno", code)
	}
	if code == 0 {
		if h.seq != p.last {
			return false, errors.New("an acknowledgement, which was not asked for")
		}
		return true, nil
	}
	bad.count(binary.NativeEndian.Uint16(body[8:]), unix.Errno(-code))
	return false, nil
}

// count counts an error. ETIME is that an entry was dying already when its time was
// changed (__nf_ct_change_timeout).
func (f *failures) count(typ uint16, errno unix.Errno) {
	switch typ {
	case ctDelete:
		f.deletes++
	case ctNew:
		f.retimes++
	default: // the end of the part
		f.refusal = errno
		return
	}
	if errno == unix.ENOENT || errno == unix.ETIME {
		f.gone++
		return
	}
	f.refusal = errno
}
