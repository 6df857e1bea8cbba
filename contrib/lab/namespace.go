package lab

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// netnsDir is where named namespaces are mounted, as iproute2 has it.
const netnsDir = "/run/netns"

// A Namespace is a named network namespace of the lab.
type Namespace struct {
	Name string

	ns    netns.NsHandle
	links *netlink.Handle
}

// newNamespace makes a namespace with nothing but a loopback that is up. The
// name must have been claimed.
func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{Name: name, ns: netns.None()}
	err := onOwnThread(func() (err error) {
		n.ns, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err)
	}
	if n.links, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("open rtnetlink in %s: %w", name, err), n.Close())
	}
	if err := n.linkUp("lo"); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Path is where the namespace is mounted.
func (n *Namespace) Path() string { return filepath.Join(netnsDir, n.Name) }

// Do runs fn on a thread inside the namespace. Goroutines that fn starts are
// not inside; sockets that it opens stay inside.
func (n *Namespace) Do(fn func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.ns); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.Name, err)
		}
		return fn()
	})
}

// onOwnThread runs fn on a thread that nobody else will use: it is locked and
// never unlocked, so the runtime ends it with the goroutine and no other
// goroutine can find itself in a strange namespace.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- recovered(fn)
	}()
	return <-done
}

// Sysctl reads a key as the namespace has it, "net.netfilter.nf_conntrack_count".
func (n *Namespace) Sysctl(key string) (value int, err error) {
	err = n.Do(func() error {
		value, err = sysctl.ReadInt(key)
		return err
	})
	return value, err
}

// SetSysctl writes a key of the namespace.
func (n *Namespace) SetSysctl(key string, value int) error {
	return n.Do(func() error { return sysctl.Write(key, strconv.Itoa(value)) })
}

// Close unmounts the namespace and lets go of it. The kernel frees it, with
// links, entries and rules, when the last socket in it is closed.
func (n *Namespace) Close() error {
	if n.links != nil {
		n.links.Close()
	}
	var err error
	if n.ns.IsOpen() {
		err = n.ns.Close()
	}
	return errors.Join(err, deleteNamespace(n.Name))
}
