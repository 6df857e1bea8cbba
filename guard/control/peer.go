package control

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A peer is the process at the other end of a connection, as it was when it connected.
type peer struct {
	pid    int
	uid    uint32
	groups []uint32 // the effective one and the supplementary ones
}

// in reports whether the peer is a member of a group.
func (p *peer) in(gid uint32) bool { return slices.Contains(p.groups, gid) }

// name names the peer's user for people.
func (p *peer) name() string {
	id := strconv.FormatUint(uint64(p.uid), 10)
	if p.uid == 0 {
		return "root"
	}
	if u, err := user.LookupId(id); err == nil {
		return fmt.Sprintf("%s (uid %s)", u.Username, id)
	}
	return "uid " + id
}

// peerOf asks the kernel who has connected, or who listens.
func peerOf(c *net.UnixConn) (p peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, fmt.Errorf("read the peer's credentials: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed != nil {
			return
		}
		p.pid, p.uid = int(cred.Pid), cred.Uid
		p.groups, failed = peerGroups(fd)
		p.groups = append(p.groups, cred.Gid)
	})
	if err := errors.Join(err, failed); err != nil {
		return p, fmt.Errorf("read the peer's credentials: %w", err)
	}
	return p, nil
}

// firstGroups is for how many groups there is room at first.
const firstGroups = 32

// peerGroups reads the supplementary groups (SO_PEERGROUPS, since Linux 4.13). The kernel
// answers ERANGE with the size needed where they are more than there is room for.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, firstGroups)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		case errno != 0:
			return nil, errno
		default:
			return groups[:size/4], nil
		}
	}
}
