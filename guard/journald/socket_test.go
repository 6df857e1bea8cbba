package journald

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketPath = "/run/systemd/journal/socket"
	childMark  = "JOURNALD_TEST_CHILD"
)

// The socket's path is fixed, so the test runs once more as a process with
// mounts of its own, where the test is journald.
func TestRootJournalSocket(t *testing.T) {
	if os.Getenv(childMark) != "" {
		asJournald(t)
		return
	}
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(stderr.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	child := exec.Command("/proc/self/exe", "-test.run=^TestRootJournalSocket$", "-test.v")
	child.Env = append(os.Environ(), childMark+"=1", fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
	child.Stdout, child.Stderr = &stdout, stderr
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := child.Run(); err != nil || !strings.Contains(stdout.String(), "--- PASS: TestRootJournalSocket") {
		t.Errorf("as journald: %v\n%s", err, stdout.String())
	}
	text, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	// Of the entries that journald did not take, and of no other.
	rest, found := strings.CutPrefix(string(text), "<4>nobody is there n=1\n<4>the queue is full n=2\n")
	if !found || strings.ReplaceAll(rest, "<6>on again\n", "") != "" {
		t.Errorf("standard error has %q", text)
	}
}

func asJournald(t *testing.T) {
	if err := unix.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(socketPath), 0o755); err != nil {
		t.Fatal(err)
	}
	log := slog.New(New(os.Stderr, slog.LevelInfo))
	log.Warn("nobody is there", "n", 1)

	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socketPath, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	log.Error("two\nlines", "value", "c\nd=e\n\n", "max", 5, MessageID, "0123")
	got := receive(t, socket)
	if len(got[timeField]) < len("2026-03-01T09:30:00Z") {
		t.Errorf("%s is %q", timeField, got[timeField])
	}
	delete(got, timeField)
	if want := map[string]string{
		"MESSAGE": "two\nlines", "PRIORITY": "3", "VALUE": "c\nd=e\n\n", "MAX": "5", "MESSAGE_ID": "0123",
		"SYSLOG_IDENTIFIER": "conntrack-guardian",
	}; !maps.Equal(got, want) {
		t.Errorf("journald got %q\nwant %q", got, want)
	}

	others := fill(t)
	begun := time.Now()
	log.Warn("the queue is full", "n", 2)
	if took := time.Since(begun); took < patience {
		t.Errorf("gave up after %v, want %v", took, patience)
	}
	for range others {
		if got := receive(t, socket); got["OTHER"] != "1" {
			t.Errorf("journald got %q, want another program's entry", got)
		}
	}
	if got := receive(t, socket); got["MESSAGE"] != "the queue is full" {
		t.Errorf("journald got %q, want the late entry", got)
	}
	// The sender may take a moment to notice, and send text till then.
	onAgain(t, socket, log)
}

func onAgain(t *testing.T, socket *net.UnixConn, log *slog.Logger) {
	t.Helper()
	for range 1000 {
		log.Info("on again")
		if got := receiveWithin(t, socket, 30*time.Millisecond); got != nil {
			if got["MESSAGE"] != "on again" {
				t.Errorf("journald got %q", got)
			}
			return
		}
	}
	t.Error("journald is never sent an entry again")
}

// fill sends entries as another program until the socket takes no more.
func fill(t *testing.T) (sent int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for ; ; sent++ {
		err := unix.Sendto(fd, []byte("OTHER=1\n"), 0, &unix.SockaddrUnix{Name: socketPath})
		if err == unix.EAGAIN {
			return sent
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// receive waits for an entry.
func receive(t *testing.T, socket *net.UnixConn) map[string]string {
	t.Helper()
	entry := receiveWithin(t, socket, 30*time.Second)
	if entry == nil {
		t.Fatal("journald gets no entry")
	}
	return entry
}

// receiveWithin reads an entry, or returns nil if none comes in time.
func receiveWithin(t *testing.T, socket *net.UnixConn, d time.Duration) map[string]string {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	datagram := make([]byte, 1<<16)
	n, err := socket.Read(datagram)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return parseEntry(t, datagram[:n])
}

// parseEntry reads what systemd's JOURNAL_NATIVE_PROTOCOL describes: a line
// NAME=value, or NAME alone, the value's length and the value.
func parseEntry(t *testing.T, datagram []byte) map[string]string {
	t.Helper()
	entry := map[string]string{}
	for in := bufio.NewReader(bytes.NewReader(datagram)); ; {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			return entry
		}
		if err != nil {
			t.Fatalf("entry ends in %q: %v", line, err)
		}
		name, value, short := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !short {
			value = longValue(t, in)
		}
		if _, twice := entry[name]; twice {
			t.Errorf("field %s twice", name)
		}
		entry[name] = value
	}
}

func longValue(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	var length uint64
	if err := binary.Read(in, binary.LittleEndian, &length); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, length+1)
	if _, err := io.ReadFull(in, value); err != nil || value[length] != '\n' {
		t.Fatalf("value %q: %v", value, err)
	}
	return string(value[:length])
}
