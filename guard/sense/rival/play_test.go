package rival

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// playing makes the test binary another program, which does nothing until its standard
// input ends.
const playing = "RIVAL_TEST_PLAYS"

func TestMain(m *testing.M) {
	if os.Getenv(playing) != "" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// play runs a process of a name with a command line, until the test ends.
func play(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(exe, path); err != nil {
		t.Fatal(err)
	}
	return playFile(t, path, nil, args...)
}

// playFile is one of a file of its own, as somebody else.
func playFile(t *testing.T, path string, as *syscall.SysProcAttr, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.SysProcAttr = []string{playing + "=1"}, as
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return cmd
}

// here is a made-up machine with the processes of this one.
func (f tree) here(t *testing.T) Root {
	r := f.root(t)
	r.Proc, r.anybody = "", true
	return r
}

// named waits until a suspect of that name is found. The machine has other processes,
// which may be suspect, too.
func named(t *testing.T, r Root, name string, drifts ...Drift) Suspect {
	t.Helper()
	var all []Suspect
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		all = Suspects(t.Context(), r, drifts...)
		for _, s := range all {
			if s.Name == name {
				return s
			}
		}
	}
	t.Fatalf("%s is not among %+v", name, all)
	return Suspect{}
}

// says wants evidence with certain words.
func (s Suspect) says(t *testing.T, likely bool, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(s.Why, w) || s.Likely != likely {
			t.Errorf("%+v does not say %q, likely %v", s, w, likely)
		}
	}
}
