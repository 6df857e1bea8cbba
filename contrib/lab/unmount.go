package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// deleteNamespace removes a name whether it is mounted, merely a file because
// its maker died in between, or gone.
func deleteNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	if err := unmount(path); err != nil {
		return fmt.Errorf("unmount namespace %s: %w", name, err)
	}
	err := os.Remove(path)
	if errors.Is(err, unix.EBUSY) {
		err = removeHidden(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// removeHidden removes a file on which something is mounted out of reach. The
// first `ip netns add` of a boot binds /run/netns onto itself with all that is
// mounted in it: a name then leads to the copy, and the mount it was made with
// lies beneath.
//
// In a mount namespace of this thread's own the layers can be taken off without
// anybody noticing, and the file can be removed: then the kernel detaches what is
// mounted on it in all mount namespaces (detach_mounts).
func removeHidden(path string) error {
	return onOwnThread(func() error {
		if err := ownMounts(); err != nil {
			return err
		}
		return peel(path)
	})
}

// ownMounts gives the thread, which must not be used for anything else, mounts
// that are nobody else's.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// peel takes off every layer of mounts over a file and its directory, and removes
// the file.
func peel(path string) error {
	const layers = 32 // more than anybody stacks; an end to the loop
	for range layers {
		err := errors.Join(unmount(path), os.Remove(path))
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err := unix.Unmount(filepath.Dir(path), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", filepath.Dir(path), err)
		}
	}
	return fmt.Errorf("remove %s: %w", path, unix.EBUSY)
}

// unmount does nothing where nothing is mounted.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
