package rival

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// nftPlaces are what nftables.service loads, by distribution. Debian's unit also
// flushes everything when it is stopped.
var nftPlaces = []string{"/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables.d", "/etc/nftables"}

// flush empties all tables of the network namespace.
const flush = "flush ruleset"

// removing are processes that are about tables at this moment.
func removing(s *search) (all []Suspect) {
	for _, p := range s.run() {
		switch line := strings.Join(p.args, " "); {
		case strings.Contains(line, flush):
			all = append(all, Suspect{plain(p.comm), p.of() + ", which has " + flush + " in its command line", true})
		case p.is("nft"):
			all = append(all, Suspect{"nft", p.of() + ", which runs at this moment", true})
		}
	}
	return all
}

// nftUnit is a link that systemd keeps while nftables.service is active
// (unit_export_state_files).
const nftUnit = "/run/systemd/units/invocation:nftables.service"

// nftFiles are the files that empty all tables when nftables.service loads them. That of
// Debian's package is there on machines that never load it.
func nftFiles(s *search) (all []Suspect) {
	_, err := os.Lstat(s.root.file(nftUnit))
	why := "which empties all tables when it is reloaded"
	if err != nil {
		why = "which is not active, and would empty all tables"
	}
	for _, place := range nftPlaces {
		paths := s.list(place)
		if paths == nil {
			paths = []string{place}
		}
		slices.Sort(paths)
		for _, path := range paths {
			if line := flushes(string(s.read(path))); line > 0 {
				all = append(all, Suspect{"nftables.service", fmt.Sprintf("%s: %s:%d has %s", why, plain(path), line, flush), err == nil})
			}
		}
	}
	return all
}

// flushes is the number of the line that empties all tables, 0 if there is none.
func flushes(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if strings.Join(strings.Fields(line), " ") == flush || strings.Contains(line, flush) {
			return n
		}
	}
	return 0
}

// keepers keep tables of their own, and may empty others' when they start.
var keepers = []string{"firewalld", "dockerd", "kube-proxy"}

// tableKeepers are programs that have a hand in nftables here: an opportunity, no
// evidence.
func tableKeepers(s *search) (all []Suspect) {
	for _, name := range keepers {
		if running := s.named(name); len(running) > 0 {
			all = append(all, Suspect{name, running[0].of() + ", which keeps tables of its own", false})
		}
	}
	for line := range strings.Lines(string(s.read("/etc/ufw/ufw.conf"))) {
		if key, value, _ := assignment(line); key == "ENABLED" && strings.EqualFold(strings.Trim(value, `"'`), "yes") {
			all = append(all, Suspect{"ufw", "which is enabled and keeps tables of its own", false})
		}
	}
	return all
}
