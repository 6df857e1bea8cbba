package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// savings are the ways in which editors, configuration management, Kubernetes and dpkg
// put another text in the place of a policy. Each is told the number of the edit.
var savings = map[string]func(s *site, text string, n int){
	"in place": func(s *site, text string, _ int) { s.write("guardian.toml", text) },
	"rename over": func(s *site, text string, _ int) {
		s.write(".guardian.toml.tmp", text)
		s.rename(".guardian.toml.tmp", "guardian.toml")
	},
	"backup and rename": func(s *site, text string, _ int) {
		s.rename("guardian.toml", "guardian.toml~")
		s.write("guardian.toml", text)
	},
	"symbolic link": func(s *site, text string, n int) {
		s.write(fmt.Sprintf("policy-%d", n), text)
		s.link(fmt.Sprintf("policy-%d", n), "next")
		s.rename("next", "guardian.toml")
	},
	"..data": func(s *site, text string, n int) {
		dir := fmt.Sprintf("..%d", n)
		if err := os.Mkdir(s.path(dir), 0o755); err != nil {
			s.Fatal(err)
		}
		s.write(filepath.Join(dir, "guardian.toml"), text)
		s.link(dir, "..next")
		s.rename("..next", "..data")
		if n == 0 {
			s.link("..data/guardian.toml", "next")
			s.rename("next", "guardian.toml")
		}
	},
	"dpkg": func(s *site, text string, _ int) {
		s.write("guardian.toml.dpkg-new", text)
		_ = os.Remove(s.path("guardian.toml.dpkg-old")) // of the edit before
		if err := os.Link(s.path("guardian.toml"), s.path("guardian.toml.dpkg-old")); err != nil {
			s.Fatal(err)
		}
		s.rename("guardian.toml.dpkg-new", "guardian.toml")
	},
	"delete and make again": func(s *site, text string, _ int) {
		if err := os.Remove(s.path("guardian.toml")); err != nil {
			s.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		s.write("guardian.toml", text)
	},
	"drop-in": func(s *site, text string, _ int) {
		if err := os.MkdirAll(s.path("guardian.d"), 0o755); err != nil {
			s.Fatal(err)
		}
		_, drop, _ := strings.Cut(text, "[watch]")
		s.write("guardian.d/50-window.toml", "[watch]"+drop)
	},
}

func (s *site) rename(from, to string) {
	s.Helper()
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) link(to, name string) {
	s.Helper()
	if err := os.Symlink(to, s.path(name)); err != nil {
		s.Fatal(err)
	}
}

var reloadHash = regexp.MustCompile(`ACTION=reloaded POLICY_HASH=(\w+)`)

// However a policy is saved, each of ten edits is in force a moment later, by one reload;
// a broken one among them leaves the last good one in force, and every problem of it is
// named.
func TestRootEveryWayOfSaving(t *testing.T) {
	s := newSite(t)
	text := func(window int, rest string) string {
		return fmt.Sprintf("version = 1\nmode = \"observe\"\nnamespace = %q\n[watch]\nwindow = \"%ds\"\n%s", s.gateway.Router.Path(), window, rest)
	}
	for name, save := range savings {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, gateway: s.gateway, hold: s.hold, dir: t.TempDir()}
			t.Setenv("RUNTIME_DIRECTORY", s.dir)
			s.write("guardian.toml", text(10, ""))
			d := s.start()
			for n := range 10 {
				reloads := d.count("ACTION=reloaded")
				if n == 5 {
					save(s, text(30, "high = 2.0\nlow = \"x\"\n"), 100)
					s.until("both problems", func() bool { return d.count("ACTION=policy-rejected") == 2 })
					if st := s.status(); len(st.Policy.Problems) != 2 || d.count("ACTION=reloaded") != reloads {
						t.Errorf("problems %q, %d reloads", st.Policy.Problems, d.count("ACTION=reloaded"))
					}
				}
				save(s, text(11+n, ""), n)
				s.until(fmt.Sprintf("reload %d", n+1), func() bool { return d.count("ACTION=reloaded") > reloads })
				s.until(fmt.Sprintf("a reading by edit %d", n+1), func() bool { return s.status().Losses.Window == float64(11+n) })
			}
			time.Sleep(time.Second)
			seen := map[string]bool{}
			for _, m := range reloadHash.FindAllStringSubmatch(d.log.String(), -1) {
				seen[m[1]] = true
			}
			if n := d.count("ACTION=reloaded"); n != 10 || len(seen) != 10 || d.count("ACTION=policy-rejected") != 2 {
				t.Errorf("%d reloads of %d texts, %d problems", n, len(seen), d.count("ACTION=policy-rejected"))
			}
			d.stop()
		})
	}
}

// SIGHUP reads the policy although nothing has changed.
func TestRootHangup(t *testing.T) {
	s := newSite(t)
	d := s.start()
	if err := d.cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.until("the reload", func() bool { return d.count("ACTION=reloaded") == 1 })
	if code, out, errs := s.ask("reload"); code != 0 || !strings.Contains(out, "mode act") || d.count("ACTION=reloaded") != 2 {
		t.Errorf("reload: %d %s%s", code, out, errs)
	}
	s.write("guardian.toml", "version = 1\nmode = \"maybe\"\n")
	if code, _, errs := s.ask("reload"); code != 1 || !strings.Contains(errs, "guardian.toml:2:8: mode: ") {
		t.Errorf("reload: %d %s", code, errs)
	}
}
