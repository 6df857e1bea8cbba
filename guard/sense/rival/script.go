package rival

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// scriptPlaces are files, and directories of files, that run by themselves: at boot, by
// the clock, when a link comes up, when a module is loaded.
var scriptPlaces = []string{
	"/etc/rc.local", "/etc/rc.d/rc.local", "/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily",
	"/var/spool/cron/crontabs", "/var/spool/cron", "/etc/network/interfaces", "/etc/network/if-up.d", "/etc/network/if-pre-up.d",
	"/etc/ppp/ip-up.d", "/etc/NetworkManager/dispatcher.d", "/etc/udev/rules.d", "/etc/modprobe.d", "/etc/systemd/system",
}

// ufwSysctl is what ufw applies when it is enabled or reloaded (IPT_SYSCTL).
const ufwSysctl = "/etc/ufw/sysctl.conf"

// scripts are files beside sysctl.d that set the value found.
func scripts(s *search) (all []Suspect) {
	ufw := sysctlFile{ufwSysctl, string(s.read(ufwSysctl))}
	for _, d := range s.drifts {
		for _, set := range ufw.of(d) {
			if d.reads(set.value) {
				all = append(all, Suspect{"ufw", set.sets(d), true})
			}
		}
	}
	for _, place := range scriptPlaces {
		paths := s.list(place)
		if paths == nil {
			paths = []string{place}
		}
		slices.Sort(paths)
		for _, path := range paths {
			all = append(all, s.script(path)...)
		}
	}
	return all
}

// script are the lines of a file that have a key and the value found.
func (s *search) script(path string) (all []Suspect) {
	n := 0
	for line := range strings.Lines(string(s.read(path))) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, d := range s.drifts {
			if hasWord(line, d.found) && (namesKey(line, d) || isHashSize(line, d)) {
				where := fmt.Sprintf("%s:%d", plain(path), n)
				all = append(all, Suspect{plain(filepath.Base(path)), fmt.Sprintf("of which %s has %s and %s", where, d.short(), plain(d.found)), true})
			}
		}
	}
	return all
}

// isHashSize reports whether a line sets the buckets by the module's parameter.
func isHashSize(line string, d drift) bool {
	return d.key == keyBuckets && strings.Contains(line, "nf_conntrack") && strings.Contains(line, "hashsize")
}
