package ledger

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const victimText = "not the ledger's\n"

// traps are what somebody may put in the place of a file of the ledger's.
var traps = map[string]func(path, victim string) error{
	"absolute link": func(path, victim string) error { return os.Symlink(victim, path) },
	"relative link": func(path, _ string) error { return os.Symlink("../victim", path) },
	"dangling link": func(path, victim string) error { return os.Symlink(victim+".new", path) },
	"link inside":   func(path, _ string) error { return os.Symlink("other", path) },
	"FIFO":          func(path, _ string) error { return unix.Mkfifo(path, 0o666) },
	"socket":        func(path, _ string) error { return unix.Mknod(path, unix.S_IFSOCK|0o666, 0) },
	"directory":     func(path, _ string) error { return os.Mkdir(path, 0o755) },
}

// trapped is a state directory with a ledger whose tail is torn, and a trap.
func trapped(t *testing.T, file string, set func(path, victim string) error) (dir, victim string) {
	t.Helper()
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	top := t.TempDir()
	dir, victim = filepath.Join(top, "state"), filepath.Join(top, "victim")
	err := errors.Join(
		os.Mkdir(dir, 0o755),
		os.WriteFile(victim, []byte(victimText), 0o600),
		os.WriteFile(filepath.Join(dir, "other"), []byte(victimText), 0o600),
	)
	if file != FileName {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, FileName), append(contents(t, l.dir.path), "torn"...), 0o600))
	}
	if err := errors.Join(err, set(filepath.Join(dir, file), victim)); err != nil {
		t.Fatal(err)
	}
	return dir, victim
}

// untouched fails when anything but the ledger's own files has changed.
func untouched(t *testing.T, dir, victim string) {
	t.Helper()
	for _, path := range []string{victim, filepath.Join(dir, "other")} {
		if text, err := os.ReadFile(path); err != nil || string(text) != victimText {
			t.Errorf("%s holds %q now, %v", path, text, err)
		}
	}
	if beside, err := os.ReadDir(filepath.Dir(victim)); err != nil || len(beside) != 2 {
		t.Errorf("beside the state directory there is %v now, %v", beside, err)
	}
}

// within fails when a call hangs.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("hangs")
	}
}

// Nothing outside the state directory is written, and nothing hangs, whatever
// its owner puts in it; the files that are replaced replace it.
func TestTrapsInTheStateDirectory(t *testing.T) {
	for _, file := range []string{tempName, tornName, probeName, pidName} {
		for name, set := range traps {
			t.Run(file+"/"+name, func(t *testing.T) {
				dir, victim := trapped(t, file, set)
				within(t, func() {
					l, err := OpenWith(dir, boot, Options{Bound: 1, Keep: 1})
					if err != nil {
						t.Error(err)
						return
					}
					defer l.Close()
					if err := errors.Join(l.Err(), set(filepath.Join(dir, probeName), victim)); err != nil {
						t.Error(err)
					}
					l.err = syscall.EIO
					if err := l.Probe(); err != nil {
						t.Error(err)
					}
					if _, err := l.Intend(change("1")); err != nil {
						t.Error(err)
					}
					if _, err := Read(dir); err != nil {
						t.Error(err)
					}
				})
				untouched(t, dir, victim)
			})
		}
	}
}

func TestTrapInTheLedgersPlace(t *testing.T) {
	for name, set := range traps {
		t.Run(name, func(t *testing.T) {
			dir, victim := trapped(t, FileName, set)
			within(t, func() {
				_, openErr := Open(dir, boot)
				_, readErr := Read(dir)
				for _, err := range []error{openErr, readErr} {
					if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, FileName)+": it is a ") {
						t.Errorf("got %v", err)
					}
				}
			})
			untouched(t, dir, victim)
		})
	}
}

// A link that takes the ledger's name while it is held is replaced.
func TestTrapUnderTheHolder(t *testing.T) {
	for name, set := range traps {
		if name == "directory" { // no rename replaces it: an error until it has gone
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir, victim := trapped(t, "nothing", func(string, string) error { return nil })
			l := open(t, dir, Options{})
			path := filepath.Join(dir, FileName)
			if err := errors.Join(os.Remove(path), set(path, victim)); err != nil {
				t.Fatal(err)
			}
			within(t, func() {
				if _, err := l.Intend(change("1")); err != nil {
					t.Error(err)
				}
			})
			untouched(t, dir, victim)
			got, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "on disk", got, l.Changes())
		})
	}
}

func TestLockSurvivesWhatIsRemoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	c := must(t)(l.Intend(change("131072")))
	for _, name := range []string{pidName, FileName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(dir, boot)
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.PID != 0 || !strings.Contains(err.Error(), "stop it first") {
		t.Fatalf("a second holder beside the first: %v", err)
	}
	c = must(t)(l.Step(c.ID, Applied, ""))
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "on disk", got, []Change{c})
}

// Whose directory was moved away does not write to the one in its place.
func TestDirectoryReplaced(t *testing.T) {
	top := t.TempDir()
	dir, aside := filepath.Join(top, "state"), filepath.Join(top, "aside")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	first := open(t, dir, Options{})
	must(t)(first.Intend(change("131072")))
	if err := errors.Join(os.Rename(dir, aside), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir, Options{})
	must(t)(second.Intend(change("196608")))
	was := contents(t, dir)
	for range 2 {
		if _, err := first.Intend(change("262144")); err == nil || !strings.Contains(err.Error(), "removed or replaced") || first.Err() == nil {
			t.Fatalf("a record that nobody will find: %v", err)
		}
		if err := first.Probe(); err == nil {
			t.Fatal("probed well")
		}
	}
	if string(contents(t, dir)) != string(was) {
		t.Error("the other ledger was written to")
	}
	if err := errors.Join(second.Close(), os.RemoveAll(dir), os.Rename(aside, dir)); err != nil {
		t.Fatal(err)
	}
	must(t)(first.Intend(change("262144")))
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "on disk", got, first.Changes())
}

// What an earlier holder has left does not name it.
func TestDeadHolderIsNotNamed(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	ended := exec.Command("/proc/self/exe", "-test.run", "^$")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{strconv.Itoa(ended.Process.Pid), "-1", "0", "", "systemd"} {
		if err := os.WriteFile(filepath.Join(dir, pidName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, boot)
		if held, ok := errors.AsType[*HeldError](err); !ok || held.PID != 0 {
			t.Errorf("%q in %s: %v", text, pidName, err)
		}
	}
}

const (
	nobody   = 65534
	asNobody = "LEDGER_TEST_DIR"
)

// TestMain is also the daemon of another user, that goes on where root has been.
func TestMain(m *testing.M) {
	dir := os.Getenv(asNobody)
	if dir == "" {
		os.Exit(m.Run())
	}
	l, err := Open(dir, boot)
	if err == nil {
		_, err = l.Intend(change("262144"))
	}
	if err == nil {
		err = l.rewrite(l.book)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

// Root opens, mends, compacts and appends in the directory of a daemon that is
// not root; the daemon finds all of it its own.
func TestRootLeavesTheDirectoryToItsOwner(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	fill(t, l)
	for name, text := range map[string]string{
		"no ledger": "",
		"whole":     string(contents(t, l.dir.path)),
		"torn":      string(contents(t, l.dir.path)) + "torn",
	} {
		t.Run(name, func(t *testing.T) {
			dir := ownedByNobody(t, text)
			for _, bound := range []int64{0, 1} { // only append; compact each time
				byRoot, err := OpenWith(dir, boot, Options{Bound: bound})
				if err != nil {
					t.Fatal(err)
				}
				must(t)(byRoot.Intend(change("131072")))
				if err := byRoot.Close(); err != nil {
					t.Fatal(err)
				}
				all, err := os.ReadDir(dir)
				if err != nil || len(all) < 2 {
					t.Fatal(all, err)
				}
				for _, e := range all {
					info, err := e.Info()
					if st := info.Sys().(*syscall.Stat_t); err != nil || st.Uid != nobody || st.Gid != nobody {
						t.Errorf("%s belongs to %d:%d, %v", e.Name(), st.Uid, st.Gid, err)
					}
				}
				child := exec.Command("/proc/self/exe")
				child.Env = append(os.Environ(), asNobody+"="+dir)
				child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
				if out, err := child.CombinedOutput(); err != nil {
					t.Errorf("the owner can't go on: %v: %s", err, out)
				}
			}
		})
	}
}

func ownedByNobody(t *testing.T, ledger string) (dir string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "state")
	err := errors.Join(os.Chmod(filepath.Dir(top), 0o755), os.Chmod(top, 0o755), os.Mkdir(dir, 0o750), os.Chown(dir, nobody, nobody))
	if ledger != "" {
		path := filepath.Join(dir, FileName)
		err = errors.Join(err, os.WriteFile(path, []byte(ledger), 0o600), os.Chown(path, nobody, nobody))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
