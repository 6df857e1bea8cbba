package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

// A saving is a way in which a policy comes to be another. Edits are numbered from 1.
type saving struct {
	name string
	// prepare makes the policy, with text, in a new directory, and returns its path.
	prepare func(s site, text string) string
	// edit makes text of it.
	edit func(s site, i int, text string)
	// dropIn says that text is that of a drop-in, which every third edit takes away.
	dropIn bool
}

// A site is the directory in which one policy is saved. Nothing in it may fail.
type site struct {
	*testing.T
	dir string
}

func (s site) at(name string) string { return filepath.Join(s.dir, name) }

func (s site) must(err error) {
	s.Helper()
	if err != nil {
		s.Error(err)
	}
}

// write makes a file anew, with the directories that it needs.
func (s site) write(name, text string) string {
	s.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.at(name)), 0o755))
	s.must(os.WriteFile(s.at(name), []byte(text), 0o644))
	return s.at(name)
}

func (s site) rename(from, to string) { s.Helper(); s.must(os.Rename(s.at(from), s.at(to))) }
func (s site) remove(name string)     { s.Helper(); s.must(os.RemoveAll(s.at(name))) }

// link makes a symbolic link, or another of it, in one step.
func (s site) link(target, name string) {
	s.Helper()
	s.must(os.Symlink(target, s.at(name+".new")))
	s.rename(name+".new", name)
}

// slowly writes into a file that is there: first half of it, later the rest.
func (s site) slowly(name, text string, wait time.Duration) {
	s.Helper()
	f, err := os.OpenFile(s.at(name), os.O_WRONLY|os.O_TRUNC, 0)
	s.must(err)
	defer f.Close()
	_, err = f.WriteString(text[:len(text)/2])
	s.must(err)
	time.Sleep(wait)
	_, err = f.WriteString(text[len(text)/2:])
	s.must(err)
}

func plain(s site, text string) string { return s.write("guardian.toml", text) }

// withMain makes a drop-in of the text beside a policy that says nothing.
func withMain(name string) func(s site, text string) string {
	return func(s site, text string) string {
		s.write(name, text)
		return plain(s, "version = 1\n")
	}
}

// version is a directory of its own for each edit, as a ConfigMap has it.
func version(i int) string { return fmt.Sprintf("..2026_11_%02d", i) }

var savings = []saving{
	{name: "in place", prepare: plain, edit: func(s site, _ int, text string) { plain(s, text) }},
	{name: "in place, in two parts", prepare: plain, edit: func(s site, _ int, text string) {
		s.slowly("guardian.toml", text, quiet/2)
	}},
	{name: "in place, slower than quiet", prepare: plain, edit: func(s site, _ int, text string) {
		s.must(os.Truncate(s.at("guardian.toml"), 0))
		time.Sleep(2 * quiet)
		s.slowly("guardian.toml", text, quiet/2)
	}},
	{name: "rename over", prepare: plain, edit: func(s site, _ int, text string) {
		s.write(".guardian.toml.tmp", text)
		s.rename(".guardian.toml.tmp", "guardian.toml")
	}},
	{name: "backup and rename", prepare: plain, edit: func(s site, _ int, text string) { // as vim does
		s.write(".guardian.toml.swp", "swap")
		s.write("4913", "")
		s.remove("4913")
		s.rename("guardian.toml", "guardian.toml~")
		plain(s, text)
		s.must(os.Chmod(s.at("guardian.toml"), 0o640))
		s.remove("guardian.toml~")
		s.remove(".guardian.toml.swp")
	}},
	{name: "symlink swap", prepare: func(s site, text string) string {
		s.write("versions/0.toml", text)
		s.must(os.Mkdir(s.at("links"), 0o755))
		s.link("../versions/0.toml", "links/now.toml")
		s.link("links/now.toml", "guardian.toml")
		return s.at("guardian.toml")
	}, edit: func(s site, i int, text string) {
		switch i % 3 {
		case 0: // the target itself
			plain(s, text)
		case 1:
			s.write(fmt.Sprintf("versions/%d.toml", i), text)
			s.link(fmt.Sprintf("../versions/%d.toml", i), "links/now.toml")
		case 2: // the first link
			s.write(fmt.Sprintf("versions/%d.toml", i), text)
			s.remove("links")
			s.must(os.Mkdir(s.at("links"), 0o755))
			s.link(fmt.Sprintf("../versions/%d.toml", i), "links/now.toml")
			s.link("links/now.toml", "guardian.toml")
		}
	}},
	{name: "symlinked directory", prepare: func(s site, text string) string {
		s.write("releases/0/guardian.toml", text)
		s.link("releases/0", "current")
		return s.at("current/guardian.toml")
	}, edit: func(s site, i int, text string) {
		s.write(fmt.Sprintf("releases/%d/guardian.toml", i), text)
		s.link(s.at(fmt.Sprintf("releases/%d", i)), "current")
	}},
	{name: "data swap", prepare: func(s site, text string) string { // as a ConfigMap is mounted
		s.write(version(0)+"/guardian.toml", text)
		s.link(version(0), "..data")
		s.link("..data/guardian.toml", "guardian.toml")
		return s.at("guardian.toml")
	}, edit: func(s site, i int, text string) {
		s.write(version(i)+"/guardian.toml", text)
		s.link(version(i), "..data")
		s.remove(version(i - 1))
	}},
	{name: "dpkg", prepare: plain, edit: func(s site, _ int, text string) {
		s.write("guardian.toml.dpkg-new", text)
		s.must(os.Link(s.at("guardian.toml"), s.at("guardian.toml.dpkg-tmp")))
		s.rename("guardian.toml.dpkg-new", "guardian.toml")
		s.remove("guardian.toml.dpkg-tmp")
	}},
	{name: "delete and re-create", prepare: plain, edit: func(s site, _ int, text string) {
		s.remove("guardian.toml")
		time.Sleep(2 * quiet)
		plain(s, text)
	}},
	{name: "directory replaced", prepare: func(s site, text string) string {
		return s.write("etc/guardian.toml", text)
	}, edit: func(s site, _ int, text string) {
		s.write("etc.new/guardian.toml", text)
		s.rename("etc", "etc.old")
		s.rename("etc.new", "etc")
		s.remove("etc.old")
	}},
	{name: "directory deleted and made again", prepare: func(s site, text string) string {
		return s.write("etc/guardian.toml", text)
	}, edit: func(s site, _ int, text string) {
		s.remove("etc")
		time.Sleep(2 * quiet)
		s.write("etc/guardian.toml", text)
	}},
	{name: "drop-in", dropIn: true, prepare: withMain("guardian.d/10.toml"), edit: func(s site, i int, text string) {
		if i%3 == 0 {
			s.remove("guardian.d/10.toml")
			return
		}
		s.write("guardian.d/10.toml", text)
	}},
	{name: "directory of drop-ins", dropIn: true, prepare: withMain("guardian.d/10.toml"), edit: func(s site, i int, text string) {
		s.remove("guardian.d")
		if i%3 > 0 {
			s.write("guardian.d/10.toml", text)
		}
	}},
	{name: "linked drop-in", dropIn: true, prepare: func(s site, text string) string {
		s.write("guardian.d/README", "")
		s.write("shared/x", text)
		s.link("../shared/x", "guardian.d/10.toml")
		return plain(s, "version = 1\n")
	}, edit: func(s site, i int, text string) {
		switch i % 3 {
		case 0:
			s.remove("guardian.d/10.toml")
		case 1:
			s.write("shared/x", text)
			s.link("../shared/x", "guardian.d/10.toml")
		case 2:
			s.write("shared/x", text)
		}
	}},
}

// text is a policy, or a part of one, that tells it is that of edit i. That of edit 5
// has two mistakes. A half of any has one, too: where a machine halts between two halves
// for longer than quiet, patience is left.
func text(i int) string {
	more := fmt.Sprintf("\nraise_max.ceiling = %d\n", 1000+i)
	if i == broken {
		more = "\nraise_max.ceilin = 1\nmode = 'axt'\n"
	}
	return strings.Repeat("# and so on\n", 100) + "version = 1\n" + more
}

const edits, broken = 10, 5

// However a policy is saved, each edit is handed over, once, and none is lost; of one
// with mistakes all are told, and the next good one comes all the same.
func TestEachWayOfSaving(t *testing.T) {
	for _, way := range savings {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := site{t, t.TempDir()}
			path := way.prepare(s, text(0))
			w := start(t, path, Options{InForce: hashOf(t, path)})
			for i := 1; i <= edits; i++ {
				way.edit(s, i, text(i))
				l := w.next(t)
				expect(t, l, i, way.dropIn && i%3 == 0)
				w.silent(t, 2*quiet)
			}
			w.silent(t, patience+2*quiet)
		})
	}
}

// expect holds what was handed over against the edit.
func expect(t *testing.T, l Loaded, i int, removed bool) {
	t.Helper()
	var problems config.Problems
	want := 1000 + i
	switch {
	case i == broken:
		if !errors.As(l.Err, &problems) || len(problems) != 2 || l.Hash == "" {
			t.Errorf("edit %d: got %v, want two problems", i, l.Err)
		}
		return
	case removed:
		want = config.Default().Policy.RaiseMax.Ceiling
	}
	if got := l.File.Policy.RaiseMax.Ceiling; got != want || l.Err != nil || l.Hash != l.File.Hash {
		t.Errorf("edit %d: got %d (%v, %s), want %d", i, got, l.Err, l.Hash, want)
	}
}
