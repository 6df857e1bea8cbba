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

// sysctlConf is read last by sysctl --system and alone by sysctl -p, and by
// systemd-sysctl only where a link of sysctl.d leads to it.
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
	files := s.applied()
	for _, d := range s.drifts {
		var settings []setting
		for _, f := range files {
			settings = append(settings, f.of(d)...)
		}
		all = append(all, accuse(d, settings)...)
	}
	return all
}

// accuse names the files that set the value found, by whether they have the last word
// among those that systemd-sysctl reads, too.
func accuse(d drift, settings []setting) (all []Suspect) {
	common := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return s.file == sysctlConf })
	by := "sysctl --system or systemd-sysctl"
	if len(common) < len(settings) { // and sysctl --system reads more
		by = "systemd-sysctl"
	}
	for i, set := range settings {
		switch {
		case !d.reads(set.value):
		case set.file == sysctlConf:
			all = append(all, Suspect{"sysctl --system or sysctl -p", set.sets(d), true})
		case i == lastWord(common): // the others are before sysctlConf
			all = append(all, Suspect{by, set.sets(d), true})
		default:
			all = append(all, Suspect{"sysctl -p", set.sets(d) + " where it is the only file", true})
		}
	}
	return all
}

func (s setting) sets(d drift) string {
	return fmt.Sprintf("by which %s sets %s to %s", s.place(), d.short(), plain(d.found))
}

// lastWord is the setting that stays when all are applied: the last one, but a name
// goes before globs.
func lastWord(settings []setting) int {
	for i, set := range slices.Backward(settings) {
		if set.exact {
			return i
		}
	}
	return len(settings) - 1
}

// A sysctlFile is one whose lines set values.
type sysctlFile struct {
	path string
	text string
}

// applied are the files in the order in which they are applied.
func (s *search) applied() (files []sysctlFile) {
	paths := map[string]string{}
	for _, dir := range slices.Backward(sysctlDirs) {
		for _, path := range s.list(dir) {
			if strings.HasSuffix(path, ".conf") {
				paths[filepath.Base(path)] = path
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		// A link to /dev/null masks a file: it reads empty. Debian's 99-sysctl.conf is a
		// link to the file that is read last.
		if !s.same(paths[name], sysctlConf) {
			files = append(files, sysctlFile{paths[name], string(s.read(paths[name]))})
		}
	}
	return append(files, sysctlFile{sysctlConf, string(s.read(sysctlConf))})
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
