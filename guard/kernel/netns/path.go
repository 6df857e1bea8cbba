package netns

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// An ID tells a network namespace from the others that exist beside it: the
// kernel gives the number of one that has ended to another.
type ID struct {
	major, minor uint32 // of nsfs, the same for all namespaces
	inode        uint64
}

// Another reports whether the two are different namespaces. It is false for
// what is no namespace at all, such as the plain file that stands in a name's
// place before the namespace is mounted there.
func (id ID) Another(than ID) bool {
	return id.major == than.major && id.minor == than.minor && id.inode != than.inode
}

// A Path is a path to look at often. It has one user at a time.
type Path struct {
	text  []byte // ends with a zero
	found unix.Statx_t
}

// NewPath prepares a path to be looked at; nothing needs to be there.
func NewPath(path string) *Path { return &Path{text: append([]byte(path), 0)} }

// Current is the namespace of the calling thread.
func Current() (ID, error) { return NewPath("/proc/thread-self/ns/net").ID() }

// ID is what the path leads to at present. It allocates nothing: unix.Statx
// would copy the path each time.
func (p *Path) ID() (ID, error) {
	at := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(at), uintptr(unsafe.Pointer(&p.text[0])), 0,
		unix.STATX_INO, uintptr(unsafe.Pointer(&p.found)), 0)
	if errno != 0 {
		return ID{}, errno
	}
	return ID{p.found.Dev_major, p.found.Dev_minor, p.found.Ino}, nil
}
