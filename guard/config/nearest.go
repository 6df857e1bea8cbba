package config

import (
	"cmp"
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

// unknown says that nothing is called key, and what there is instead. What was
// meant is not missing: its problem is the name.
func (r *reading) unknown(key toml.Key) string {
	name, table := key[len(key)-1], key[:len(key)-1]
	known := names(generic(table))
	if n := meant(name, known); n != "" {
		r.bad[append(slices.Clone(table), n).String()] = true
		return fmt.Sprintf("unknown; did you mean %q?", n)
	}
	if elsewhere := bearing(name); len(elsewhere) > 0 {
		return "unknown here; known as " + few(elsewhere)
	}
	return "unknown; known here: " + few(known)
}

// meant is the nearest of the known words, or the only one of which unknown is
// the end or which is the end of unknown: a timeout has a long name in sysctl and
// a short one in speech. Otherwise it is the only one with which unknown begins.
func meant(unknown string, known []string) string {
	if n := Nearest(unknown, known); n != "" {
		return n
	}
	ends := only(known, func(k string) bool {
		return strings.HasSuffix(k, "_"+unknown) || strings.HasSuffix(unknown, "_"+k)
	})
	begins := only(known, func(k string) bool { return len(k) > 3 && strings.HasPrefix(unknown, k) })
	return cmp.Or(ends, begins)
}

// only is the word that is as asked, "" if none is or several are.
func only(words []string, is func(string) bool) (found string) {
	for _, w := range words {
		switch {
		case !is(w):
		case found != "":
			return ""
		default:
			found = w
		}
	}
	return found
}

// few lists words, as many as fit into a line.
func few(words []string) string {
	const enough = 160 // bytes
	size, n := 0, 0
	for size <= enough && n < len(words) {
		size += len(words[n]) + len(", ")
		n++
	}
	if n == len(words)-1 {
		n++ // it takes no more room than to say so
	}
	list := strings.Join(words[:n], ", ")
	if n < len(words) {
		list += fmt.Sprintf(" and %d more", len(words)-n)
	}
	return list
}

// names lists what may stand in a table, "" being the top of the file.
func names(table string) (in []string) {
	for _, full := range known {
		rest := full
		if table != "" {
			rest, _ = strings.CutPrefix(full, table+".")
		}
		name, _, _ := strings.Cut(rest, ".")
		if (table == "" || rest != full) && !slices.Contains(in, name) {
			in = append(in, name)
		}
	}
	return in
}

// bearing lists the settings and tables of all tables that have this name.
func bearing(name string) (all []string) {
	for _, full := range known {
		for ; full != ""; full, _ = cutLast(full) {
			if _, n := cutLast(full); n == name && !slices.Contains(all, full) {
				all = append(all, full)
			}
		}
	}
	return all
}
