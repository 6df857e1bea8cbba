package control

import (
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"
)

// A right is what a peer may do.
type right int

const (
	nothing right = iota
	reads
	commands
)

// nobody is the group that has no members.
const nobody = math.MaxUint32

// An Access says who may use the socket. Make one with Resolve.
type Access struct {
	readAll bool
	group   uint32 // whose members may command, nobody for none
	name    string // of the group, for people
}

// Resolve finds the group whose members may command, the daemon's own one where none is
// named, and none where that is root's: who shares a group with root is no operator by
// that. Everybody may read if readAll.
func Resolve(group string, readAll bool) (Access, error) {
	a := Access{readAll: readAll, group: nobody}
	if group == "" {
		if own := os.Getegid(); own != 0 {
			a.group, a.name = uint32(own), groupName(own)
		}
		return a, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return a, fmt.Errorf("find the group of the control socket: %w", err)
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return a, fmt.Errorf("find the group of the control socket: %s: %w", group, err)
	}
	a.group, a.name = uint32(id), group
	return a, nil
}

func groupName(gid int) string {
	id := strconv.Itoa(gid)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// of is what a peer may do.
func (a *Access) of(p *peer) right {
	switch {
	case p.uid == 0, p.uid == uint32(os.Geteuid()), a.group != nobody && p.in(a.group):
		return commands
	case a.readAll:
		return reads
	}
	return nothing
}

// who names those who may command.
func (a *Access) who() string {
	who := "root"
	if id := os.Geteuid(); id != 0 {
		me := peer{uid: uint32(id)}
		who += ", " + me.name()
	}
	if a.group != nobody {
		who += " and the members of the group " + a.name
	}
	return who
}

// apply gives the socket's file the mode that keeps out at once whom the credentials would
// keep out. Where the file can't be given to the group it lets everybody ask.
func (a *Access) apply(at *spot) error {
	mode := os.FileMode(0o666)
	switch {
	case a.readAll:
	case a.group == nobody:
		mode = 0o600
	case os.Chown(at.file(), -1, int(a.group)) == nil:
		mode = 0o660
	}
	if err := os.Chmod(at.file(), mode); err != nil {
		return fmt.Errorf("set the mode of the control socket: %w", err)
	}
	return nil
}
