package ctnetlink

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// recordedReader reads answers to the test's sequence and port.
func recordedReader(each func(*Entry) bool) *reader {
	return &reader{seq: sequence, port: port, each: each}
}

func TestDatagram(t *testing.T) {
	e := entry(flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443))
	intr := bytes.Clone(e)
	intr[6] |= unix.NLM_F_DUMP_INTR
	words := func(s string) []byte {
		return slices.Concat(attr(unix.NLMSGERR_ATTR_OFFS, u32(1)), attr(unix.NLMSGERR_ATTR_MSG, []byte(s+"\x00")))
	}
	refused := func(flags uint16, code int32, more ...[]byte) []byte {
		return answer(unix.NLMSG_ERROR, flags, slices.Concat(errno(code), make([]byte, unix.SizeofNlMsghdr), bytes.Join(more, nil)))
	}
	for name, test := range map[string]struct {
		datagram []byte
		read     int
		want     string
		is       error
	}{
		"one":                 {e, 1, "", nil},
		"two":                 {slices.Concat(e, e), 2, "", nil},
		"the last":            {slices.Concat(e, done()), 1, "the dump is complete", errDone},
		"nothing":             {done(), 0, "the dump is complete", errDone},
		"no padding":          {slices.Concat(e, answer(unix.NLMSG_NOOP, 0, u8(1))[:17]), 1, "", nil},
		"empty":               {nil, 0, "an empty datagram", nil},
		"other sequence":      {slices.Concat(changed(e, 8), e), 1, "", nil},
		"other port":          {slices.Concat(changed(e, 12), e), 1, "", nil},
		"other's end":         {slices.Concat(changed(done(), 8), e), 1, "", nil},
		"no-op":               {slices.Concat(answer(unix.NLMSG_NOOP, 0, nil), e), 1, "", nil},
		"overrun":             {slices.Concat(e, answer(unix.NLMSG_OVERRUN, 0, nil)), 1, "a message of type 0x4", nil},
		"deleted entry":       {answer(ctNew+2, 0, e[unix.SizeofNlMsghdr:]), 0, "a message of type 0x102", nil},
		"interrupted":         {slices.Concat(e, intr), 1, "the table changed under the dump", ErrInterrupted},
		"interrupted at last": {answer(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, errno(0)), 0, "the table changed under the dump", ErrInterrupted},
		"malformed":           {slices.Concat(e, answer(ctNew, 0, nil), e), 1, "malformed entry: 0 bytes are too short for struct nfgenmsg", nil},
		"after the end":       {slices.Concat(done(), e), 0, "172 bytes after the end of the dump", nil},
		"short header":        {slices.Concat(e, e[:15]), 1, "15 bytes are too short for a message", nil},
		"short length":        {slices.Concat(errno(15), e[4:]), 0, "a message of 15 bytes where 172 are left", nil},
		"long length":         {slices.Concat(errno(173), e[4:]), 0, "a message of 173 bytes where 172 are left", nil},
		"huge length":         {slices.Concat(errno(-1), e[4:]), 0, "a message of 4294967295 bytes where 172 are left", nil},

		"end with an error":     {answer(unix.NLMSG_DONE, 0, errno(-int32(unix.ENOMEM))), 0, "the kernel reports: cannot allocate memory", unix.ENOMEM},
		"end with words":        {answer(unix.NLMSG_DONE, unix.NLM_F_ACK_TLVS, append(errno(-int32(unix.EIO)), words("so sorry")...)), 0, "the kernel reports: input/output error: so sorry", unix.EIO},
		"end with nothing":      {answer(unix.NLMSG_DONE, 0, nil), 0, "NLMSG_DONE of 0 bytes is cut short", nil},
		"end with a number":     {answer(unix.NLMSG_DONE, 0, errno(5)), 0, "NLMSG_DONE with the result 5, which is no errno", nil},
		"end with no errno":     {answer(unix.NLMSG_DONE, 0, errno(-4096)), 0, "NLMSG_DONE with the result -4096, which is no errno", nil},
		"end with least number": {answer(unix.NLMSG_DONE, 0, errno(-1<<31)), 0, "NLMSG_DONE with the result -2147483648, which is no errno", nil},

		"no permission":     {refused(0, -int32(unix.EPERM)), 0, "the kernel refuses: operation not permitted (CAP_NET_ADMIN is needed)", unix.EPERM},
		"busy":              {refused(0, -int32(unix.EBUSY)), 0, "the kernel reports: device or resource busy", unix.EBUSY},
		"no such filter":    {refused(0, -int32(unix.EOPNOTSUPP)), 0, "the kernel refuses: operation not supported (it may not know a filter of the query)", unix.EOPNOTSUPP},
		"with words":        {refused(unix.NLM_F_ACK_TLVS, -int32(unix.ERANGE), words("too short")), 0, "the kernel reports: numerical result out of range: too short", unix.ERANGE},
		"words not said":    {refused(0, -int32(unix.ERANGE), words("too short")), 0, "the kernel reports: numerical result out of range", unix.ERANGE},
		"words cut short":   {refused(unix.NLM_F_ACK_TLVS, -int32(unix.ERANGE), []byte{99, 0, 1, 0}), 0, "the kernel reports: numerical result out of range", unix.ERANGE},
		"acknowledged":      {refused(0, 0), 0, "an acknowledgement, which was not asked for", nil},
		"refusal cut short": {answer(unix.NLMSG_ERROR, 0, errno(-1)), 0, "NLMSG_ERROR of 4 bytes is cut short", nil},
	} {
		r := recordedReader(func(*Entry) bool { return true })
		err := r.datagram(slices.Clip(test.datagram))
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != test.want || r.read != test.read || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %d entries, %v, want %d, %q", name, r.read, err, test.read, test.want)
		}
	}
}

// A datagram cut anywhere yields the entries that are whole, and an error unless
// it was cut between two.
func TestDatagramCutShort(t *testing.T) {
	whole := readRecorded(t)
	ends := []int{0}
	for rest := whole; len(rest) > 0; {
		_, _, next, err := cutMessage(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = next
		ends = append(ends, len(whole)-len(rest))
	}
	for n := 1; n < 3000; n++ {
		r := recordedReader(func(*Entry) bool { return true })
		err := r.datagram(whole[:n:n])
		complete, between := slices.BinarySearch(ends, n)
		if !between {
			complete--
		}
		if r.read != complete || (err == nil) != between {
			t.Fatalf("%d bytes: %d entries, %v, want %d", n, r.read, err, complete)
		}
	}
}

// Each says when it has enough, and sees nothing more.
func TestDatagramStops(t *testing.T) {
	n := 0
	r := recordedReader(func(*Entry) bool { n++; return n < 3 })
	if err := r.datagram(readRecorded(t)); !errors.Is(err, errStopped) || n != 3 || r.read != 3 {
		t.Errorf("%d entries, %d read, %v", n, r.read, err)
	}
}
