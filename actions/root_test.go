package actions

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// maxLock keeps apart those who change the one nf_conntrack_max of a machine.
const maxLock = "/run/lock/conntrack-guardian-max.lock"

func procPath(name string) string {
	return "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
}

func readProc(name string) (string, error) {
	b, err := os.ReadFile(procPath(name))
	return strings.TrimSpace(string(b)), err
}

func writeProc(name, value string) error {
	return os.WriteFile(procPath(name), []byte(value), 0)
}

func countProc(string) (int, error) {
	text, err := readProc("net.netfilter.nf_conntrack_count")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// ownMax takes nf_conntrack_max for this test and puts it back however the
// test ends, short of SIGKILL. It returns its value.
func ownMax(t *testing.T) string {
	t.Helper()
	f, err := os.OpenFile(maxLock, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	was, err := readProc(MaxName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := writeProc(MaxName, was); err != nil {
			t.Errorf("nf_conntrack_max was not put back to %s: %v", was, err)
		}
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	t.Cleanup(func() { signal.Stop(stop); close(ended) })
	go func() {
		select {
		case <-stop:
			_ = writeProc(MaxName, was)
			os.Exit(1)
		case <-ended:
		}
	}()
	return was
}

func TestRootRealMaxUpAndBack(t *testing.T) {
	was := ownMax(t)
	n, err := strconv.Atoi(was)
	if err != nil {
		t.Fatal(err)
	}
	up := strconv.Itoa(n + 1024)
	dir := t.TempDir()
	start := func() *Executor {
		l, err := ledger.Open(dir, boot)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return New(l, map[string]Target{"sysctl": &Sysctl{ReadKey: readProc, WriteKey: writeProc, Count: countProc}})
	}
	reads := func(want string) {
		t.Helper()
		if got, err := readProc(MaxName); err != nil || got != want {
			t.Fatalf("nf_conntrack_max is %s, %v; want %s", got, err, want)
		}
	}

	e := start()
	c, err := e.Do(change(edit(MaxKey, was, up)))
	if err != nil || c.State != applied {
		t.Fatalf("%+v, %v", c, err)
	}
	reads(up)
	if err := e.ledger.Close(); err != nil { // the daemon is gone, the value stays
		t.Fatal(err)
	}
	e = start()
	if moved, err := e.Recover(); err != nil || moved != nil {
		t.Fatal(moved, err)
	}
	if moved, err := e.Undo(c.ID, "calm"); err != nil || len(moved) != 1 || moved[0].State != undone {
		t.Fatal(moved, err)
	}
	reads(was)

	// The real kernel refuses what the fake one refuses.
	if err := writeProc(MaxName, "lots"); err == nil {
		t.Error("the kernel takes text for nf_conntrack_max")
	}
	if _, err := os.Stat(filepath.Dir(procPath("net.netfilter.nowhere"))); err != nil {
		t.Fatal(err)
	}
	if _, err := readProc("net.netfilter.nowhere"); !os.IsNotExist(err) {
		t.Errorf("an unknown key: %v", err)
	}
	reads(was)
}

// TestRootFakeKernelRefusesAlike holds the kernel that the other tests use
// against the real one.
func TestRootFakeKernelRefusesAlike(t *testing.T) {
	was := ownMax(t)
	n, err := strconv.Atoi(was)
	if err != nil {
		t.Fatal(err)
	}
	up := strconv.Itoa(n + 512)
	for _, value := range []string{up, " " + up, up + "\n", "lots", "-1", "2147483648", "99999999999999999999", up + "x"} {
		fake := actionstest.New(n)
		realErr, fakeErr := writeProc(MaxName, value), fake.Write(MaxName, value)
		var realNo, fakeNo syscall.Errno
		errors.As(realErr, &realNo)
		errors.As(fakeErr, &fakeNo)
		if (realErr == nil) != (fakeErr == nil) || realNo != fakeNo {
			t.Errorf("%q: the kernel says %v, the fake %v", value, realErr, fakeErr)
		}
		if got, err := readProc(MaxName); err != nil || got != fake.Value(MaxName) {
			t.Errorf("%q: the kernel reads %s, %v, the fake %s", value, got, err, fake.Value(MaxName))
		}
		if err := writeProc(MaxName, was); err != nil {
			t.Fatal(err)
		}
	}
}
