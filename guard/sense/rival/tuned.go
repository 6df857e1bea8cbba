package rival

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// tunedDirs hold profiles, by falling precedence; the second of each pair since tuned
// 2.23.
var tunedDirs = []string{"/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned"}

// tunedProfile is tuned if it runs and its profile sets the value found.
func tunedProfile(s *search) (all []Suspect) {
	running := s.named("tuned")
	if len(running) == 0 {
		return nil
	}
	p := profile{search: s, values: map[string]setting{}}
	for name := range strings.FieldsSeq(string(s.read("/etc/tuned/active_profile"))) {
		p.add(name)
	}
	for _, d := range s.drifts {
		for _, key := range slices.Sorted(maps.Keys(p.values)) {
			set := p.values[key]
			if match, _ := d.is(key); match && d.reads(set.value) {
				all = append(all, Suspect{"tuned", running[0].of() + ", " + set.sets(d), true})
			}
		}
	}
	if all == nil && len(p.values) == 0 && p.unread {
		all = []Suspect{{"tuned", running[0].of() + ", whose profile can't be read", false}}
	}
	return all
}

// A profile is what those of tuned set that are in force.
type profile struct {
	*search
	values map[string]setting // by key
	unread bool               // one of them could not be read
}

// add adds a profile over those that it includes. Where they include one another, that
// ends with the files that may be read.
func (p *profile) add(name string) {
	if name != filepath.Base(name) {
		return
	}
	for _, dir := range tunedDirs {
		path := filepath.Join(dir, name, "tuned.conf")
		if text := p.read(path); text != nil {
			p.parse(path, string(text))
			return
		}
	}
	p.unread = true
}

// parse takes the values of section [sysctl]. What is included is below, wherever the
// line stands.
func (p *profile) parse(path, text string) {
	section, n := "", 0
	own := map[string]setting{}
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, ok := assignment(line)
		switch {
		case !ok:
		case section == "[main]" && key == "include":
			for _, name := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
				p.add(name)
			}
		case section == "[sysctl]":
			// A value with > or < is only written where that is more or less.
			own[key] = setting{path, n, strings.TrimLeft(value, "<> "), true}
		}
	}
	for key, set := range own {
		p.values[key] = set
	}
}
