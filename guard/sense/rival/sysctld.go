package rival

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// sysctlDirs are those of sysctl.d(5), by falling precedence: of files of the same name
// only the first is read.
var sysctlDirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// sysctlConf is read last by sysctl --system, and by systemd-sysctl only where a link of
// sysctl.d leads to it, in that link's place.
const sysctlConf = "/etc/sysctl.conf"

// A setting is a line of a file that sets a value.
type setting struct {
	file  string
	line  int
	value string
	exact bool // by its name, not by a glob
}

func (s setting) place() string { return fmt.Sprintf("%s:%d", plain(s.file), s.line) }

// sysctlFiles are the files of sysctl.d that set a value as it was found.
func sysctlFiles(s *search) (all []Suspect) {
	systemd, procps := s.applied()
	for _, d := range s.drifts {
		a, b := settings(systemd, d), settings(procps, d)
		both := slices.Concat(a, b)
		for i, set := range both {
			if d.reads(set.value) && !slices.Contains(both[:i], set) {
				all = append(all, set.accuse(d, lastWord(a), lastWord(b)))
			}
		}
	}
	return all
}

// accuse names who sets the value by a setting. One that has the last word with nobody
// is in force after its file was applied by itself.
func (s setting) accuse(d drift, systemd, procps setting) Suspect {
	switch {
	case s == systemd && s == procps:
		return Suspect{"sysctl --system or systemd-sysctl", s.sets(d), true}
	case s == systemd:
		return Suspect{"systemd-sysctl", s.sets(d), true}
	case s == procps:
		return Suspect{"sysctl --system", s.sets(d), true}
	}
	return Suspect{"sysctl -p", s.sets(d) + " where it is the only file", true}
}

func (s setting) sets(d drift) string {
	return fmt.Sprintf("by which %s sets %s to %s", s.place(), d.short(), plain(d.found))
}

// lastWord is the setting that stays when all are applied: the last one, but a name
// goes before globs.
func lastWord(all []setting) (last setting) {
	for _, set := range all {
		if set.exact || !last.exact {
			last = set
		}
	}
	return last
}

// settings are the lines that set a value, in the order of the files.
func settings(files []sysctlFile, d drift) (all []setting) {
	for _, f := range files {
		all = append(all, f.of(d)...)
	}
	return all
}

// A sysctlFile is one whose lines set values.
type sysctlFile struct {
	path string
	text string
}

// applied are the files in the order in which systemd-sysctl and sysctl --system apply
// them. Debian's 99-sysctl.conf is a link to sysctlConf: one file at two places.
func (s *search) applied() (systemd, procps []sysctlFile) {
	paths := map[string]string{}
	for _, dir := range slices.Backward(sysctlDirs) {
		for _, path := range s.list(dir) {
			if strings.HasSuffix(path, ".conf") {
				paths[filepath.Base(path)] = path
			}
		}
	}
	conf := sysctlFile{sysctlConf, string(s.read(sysctlConf))}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if path := paths[name]; s.same(path, sysctlConf) {
			systemd = append(systemd, conf)
		} else {
			// A link to /dev/null masks a file: it reads empty.
			f := sysctlFile{path, string(s.read(path))}
			systemd, procps = append(systemd, f), append(procps, f)
		}
	}
	return systemd, append(procps, conf)
}

// of are the lines that set a value.
func (f sysctlFile) of(d drift) (all []setting) {
	n := 0
	for line := range strings.Lines(f.text) {
		n++
		key, value, ok := assignment(line)
		if match, exact := d.is(key); ok && match {
			all = append(all, setting{f.path, n, value, exact})
		}
	}
	return all
}

// assignment parses a line of sysctl.d. One that begins with - may fail.
func assignment(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return "", "", false
	}
	key, value, ok = strings.Cut(strings.TrimPrefix(line, "-"), "=")
	return strings.TrimSpace(key), strings.TrimSpace(value), ok
}
