package stat

import (
	"slices"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// The file is there before anything in the namespace uses conntrack.
func TestRootFileExistsWithoutHooks(t *testing.T) {
	inside(t, netnstest.New(t), func() error {
		f, err := openFile()
		if err != nil {
			return err
		}
		defer f.Close()
		rows, err := f.rows()
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r != (row{}) {
				t.Errorf("counts in a new namespace: %v", r)
			}
		}
		return nil
	})
}

// Opened inside, read from outside, fresh each time, and free of allocations.
func TestRootReadIsFresh(t *testing.T) {
	path := netnstest.New(t)
	var r *Reader
	inside(t, path, func() (err error) { netnstest.Track(t); r, err = Open(); return err })
	defer r.Close()
	if first, err := r.Read(); err != nil || first != (Counters{}) {
		t.Fatalf("first reading %v, %v, want zeros", first, err)
	}
	for range 3 {
		inside(t, path, func() error { netnstest.SendInvalid(t, 100); return nil })
		counted, err := r.Read()
		if err != nil || counted[Invalid] < 100 || counted[Invalid] > 200 {
			t.Errorf("after 100 invalid packets: %v invalid, %v", counted[Invalid], err)
		}
		if idle, err := r.Read(); err != nil || idle != (Counters{}) {
			t.Errorf("after none: %v, %v", idle, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Read() }); n != 0 {
		t.Errorf("%v allocations per read", n)
	}
	if missing := r.Missing(); missing != nil {
		t.Logf("this kernel does not tell %v", missing)
	}
}

// The two sources tell the same, CPU by CPU.
func TestRootSocketAgreesWithFile(t *testing.T) {
	inside(t, netnstest.New(t), func() error {
		netnstest.Track(t)
		netnstest.SendInvalid(t, 100)
		f, err := openFile()
		if err != nil {
			return err
		}
		defer f.Close()
		s, err := openSocket()
		if err != nil {
			return err
		}
		defer s.Close()
		fromFile, err := f.rows()
		if err != nil {
			return err
		}
		fromSocket, err := s.rows()
		if err != nil {
			return err
		}
		if !slices.Equal(fromFile, fromSocket) {
			t.Errorf("file %v\nsocket %v", fromFile, fromSocket)
		}
		var all increments
		all.next(make([]row, len(fromSocket)))
		if sum := all.next(fromSocket); sum[Invalid] < 100 {
			t.Errorf("%d invalid of 100", sum[Invalid])
		}
		t.Logf("not told over netlink: %v", s.missing())
		return nil
	})
}

func inside(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := netns.Do(path, f); err != nil {
		t.Fatal(err)
	}
}
