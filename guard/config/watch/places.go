package watch

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

// places are directories with their paths, which hold no symbolic links. One that has
// several paths is in it once.
type places map[identity]string

// An identity tells directories apart that have the same path one after the other.
type identity struct{ device, inode uint64 }

// maxLinks is what the kernel follows in one path (MAXSYMLINKS).
const maxLinks = 40

// placesOf are the directories in which a change can make the policy at path another:
// that of the file and of its drop-ins, of each symbolic link on the way to one of
// them, and where something is missing, the one in which it would appear.
func placesOf(path string) places {
	p := places{}
	p.follow(path)
	dir := p.follow(config.DropInDir(path))
	if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
		p.add(dir)
	}
	names, _ := config.DropIns(path) // what is wrong with them is found when they are read
	for _, name := range names {
		p.follow(name)
	}
	return p
}

// follow goes along a path and adds the places on which it depends. It returns the
// path without symbolic links, "" when it leads nowhere.
func (p places) follow(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	at, rest, links := "/", parts(path), 0
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			p.add(at)
			return ""
		case info.Mode()&os.ModeSymlink != 0:
			p.add(at)
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return ""
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(parts(target), rest...)
		case len(rest) == 0:
			p.add(at)
			return next
		default:
			at = next
		}
	}
	return at
}

// parts are the names in a path. Those of a target are not cleaned: ".." goes up from
// where a link leads.
func parts(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

func (p places) add(dir string) {
	var stat syscall.Stat_t
	if err := syscall.Stat(dir, &stat); err != nil {
		return
	}
	if id := (identity{stat.Dev, stat.Ino}); p[id] == "" {
		p[id] = dir
	}
}
