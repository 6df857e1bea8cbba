package sysctl

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

const (
	count   = "net.netfilter.nf_conntrack_count"
	timeout = "net.netfilter.nf_conntrack_udp_timeout"
)

func TestPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.netfilter.nf_conntrack_max": "/proc/sys/net/netfilter/nf_conntrack_max",
		"kernel.random.boot_id":          "/proc/sys/kernel/random/boot_id",
		"":                               "",
		".":                              "",
		"net.":                           "",
		".net":                           "",
		"net..ipv4":                      "",
		"net/../../etc/passwd":           "",
		"net.\x00":                       "",
		"Net":                            "",
	} {
		got, err := Path(key)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("Path(%q) = %q, %v, want %q", key, got, err, want)
		}
	}
}

func TestRead(t *testing.T) {
	want, err := os.ReadFile("/proc/sys/kernel/ostype")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read("kernel.ostype")
	if err != nil || got+"\n" != string(want) {
		t.Errorf("Read = %q, %v, want %q without its newline", got, err, want)
	}
}

func TestMissingKey(t *testing.T) {
	const key = "net.netfilter.nf_not_there"
	_, read := Read(key)
	_, number := ReadInt(key)
	for _, err := range []error{read, number, Write(key, "1")} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want fs.ErrNotExist that names the key", err)
		}
	}
}

func TestIntRefusesText(t *testing.T) {
	_, err := ReadInt("kernel.ostype")
	if err == nil || !strings.Contains(err.Error(), `"Linux\n"`) || !strings.Contains(err.Error(), "kernel.ostype") {
		t.Errorf("got %v, want the key and its text", err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]int{
		"0\n": 0, "262144\n": 262144, "262144": 262144, "007\n": 7,
		strconv.Itoa(math.MaxInt) + "\n": math.MaxInt,
	} {
		if got, ok := parse([]byte(text)); !ok || got != want {
			t.Errorf("parse(%q) = %d, %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "\n", "-1\n", "+1\n", " 1\n", "1 \n", "1\n\n", "1\n2\n", "0x10\n", "1e3\n", "1\t2\n", "\x00",
		"9223372036854775808\n", "99999999999999999999999999999999",
	} {
		if got, ok := parse([]byte(text)); ok {
			t.Errorf("parse(%q) = %d, want a refusal", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("262144\n"))
	f.Add([]byte("9223372036854775808\n"))
	f.Add([]byte("-1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := parse(text)
		digits := strings.TrimSuffix(string(text), "\n")
		want, err := strconv.Atoi(digits)
		plain := err == nil && !strings.HasPrefix(digits, "+") && !strings.HasPrefix(digits, "-")
		if ok != plain || ok && got != want {
			t.Errorf("parse(%q) = %d, %t; strconv says %d, %v", text, got, ok, want, err)
		}
	})
}

func TestRootIntIsFreshAndAllocatesNothing(t *testing.T) {
	inside(t, netnstest.New(t), func() error {
		f, err := Open(timeout)
		if err != nil {
			return err
		}
		defer f.Close()
		for _, want := range []int{17, 18} {
			if err := Write(timeout, strconv.Itoa(want)); err != nil {
				return err
			}
			if got, err := f.Int(); got != want || err != nil {
				t.Errorf("kept open: %d, %v, want %d", got, err, want)
			}
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = f.Int() }); n != 0 {
			t.Errorf("%v allocations per read", n)
		}
		return nil
	})
}

// The namespace is that of the thread which opens, and sticks to the file.
func TestRootKeyBelongsToTheNamespaceOfTheOpener(t *testing.T) {
	one, two := netnstest.New(t), netnstest.New(t)
	files := map[int]*File{}
	for path, value := range map[string]int{one: 21, two: 22} {
		inside(t, path, func() (err error) {
			if err := Write(timeout, strconv.Itoa(value)); err != nil {
				return err
			}
			files[value], err = Open(timeout)
			return err
		})
	}
	for want, f := range files {
		if got, err := f.Int(); got != want || err != nil {
			t.Errorf("read from outside: %d, %v, want %d", got, err, want)
		}
		f.Close()
	}
}

func TestRootWriteSaysWhatTheKernelSays(t *testing.T) {
	inside(t, netnstest.New(t), func() error {
		for _, c := range []struct {
			key, value string
			want       error
		}{
			{timeout, "soon", unix.EINVAL},
			{count, "1", fs.ErrPermission},
			// 0444 outside the initial namespace, and opened so that even root may:
			// the namespace's own permission check refuses.
			{"net.netfilter.nf_conntrack_max", "262144", fs.ErrPermission},
		} {
			err := Write(c.key, c.value)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("write %s to %s: %v, want %v", c.value, c.key, err, c.want)
			}
		}
		return nil
	})
}

func TestWriteRefusesWhatTheKernelWouldSwallow(t *testing.T) {
	for _, value := range []string{"", "1\n2", "1\x00"} {
		if err := Write("kernel.ostype", value); err == nil || errors.Is(err, fs.ErrPermission) {
			t.Errorf("write %q: %v, want a refusal before the file is opened", value, err)
		}
	}
}

// What a module reload does to an open key, a namespace's end does as well: the
// table is unregistered (unregister_net_sysctl_table).
func TestRootStaleFileFails(t *testing.T) {
	path, drop := netnstest.Hold(t)
	var f *File
	inside(t, path, func() (err error) { f, err = Open(count); return err })
	defer f.Close()
	drop()
	// The kernel takes namespaces down in a worker of its own.
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := f.Int()
		if errors.Is(err, fs.ErrNotExist) && strings.Contains(err.Error(), count) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("reading a key of a gone namespace: %v, want fs.ErrNotExist", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func inside(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := netns.Do(path, f); err != nil {
		t.Fatal(err)
	}
}
