package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/agnivade/levenshtein"
)

// Nearest returns the known word that unknown is most likely a slip of, the
// first of several equally near, or "" if none is near: more than a third of
// the letters changed is another word, but two swapped ones (two edits) are not.
func Nearest(unknown string, known []string) string {
	enough := len(unknown) / 3
	if len(unknown) > 3 {
		enough = max(2, enough)
	}
	best, least := "", enough+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(unknown), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// unknown says that nothing is called key, and what there is instead.
func unknown(key toml.Key) string {
	name := key[len(key)-1]
	table := strings.Join(key[:len(key)-1], ".")
	if n := Nearest(name, names(table)); n != "" {
		return fmt.Sprintf("unknown; did you mean %q?", n)
	}
	if elsewhere := bearing(name); len(elsewhere) > 0 {
		return "unknown here; known as " + strings.Join(elsewhere, ", ")
	}
	return "unknown; known here: " + strings.Join(names(table), ", ")
}

// names lists what may stand in a table, "" being the top of the file.
func names(table string) (in []string) {
	for _, s := range schema {
		t, name := s.split()
		switch {
		case t == table:
			in = append(in, name)
		case table == "" && !slices.Contains(in, t):
			in = append(in, t)
		}
	}
	return in
}

// bearing lists the settings of all tables that have this name.
func bearing(name string) (full []string) {
	for _, s := range schema {
		if _, n := s.split(); n == name {
			full = append(full, s.name)
		}
	}
	return full
}
