package rival

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A tree is a made-up machine: files by path, of /etc, /run, /usr, /proc and /sys. A
// text that begins with "-> " is a link.
type tree map[string]string

// root writes the tree.
func (f tree) root(t *testing.T) Root {
	t.Helper()
	dir := t.TempDir()
	for path, text := range f {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write := func() error { return os.WriteFile(path, []byte(text), 0o644) }
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			write = func() error { return os.Symlink(to, path) }
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	return Root{Files: dir, Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys")}
}

// with adds files of another tree.
func (f tree) with(more tree) tree {
	all := tree{}
	for _, some := range []tree{f, more} {
		for path, text := range some {
			all[path] = text
		}
	}
	return all
}

// runs is a tree with a process; its number says which.
func runs(pid, comm string, args ...string) tree {
	return tree{
		"proc/" + pid + "/comm":    comm + "\n",
		"proc/" + pid + "/cmdline": strings.Join(args, "\x00") + "\x00",
	}
}

// maxFound is a drift of nf_conntrack_max from 200,000.
func maxFound(found string) Drift {
	return Drift{Key: "sysctl:" + keyMax, Ours: "200000", Found: found}
}

// suspects holds what is found in a tree against what should be.
func suspects(t *testing.T, f tree, want []Suspect, drifts ...Drift) {
	t.Helper()
	got := Suspects(t.Context(), f.root(t), drifts...)
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, s := range got {
		if said := Sentence(got); strings.ContainsAny(said, "\n\x1b") || s.Name == "" || s.Why == "" {
			t.Errorf("%q", said)
		}
	}
}
