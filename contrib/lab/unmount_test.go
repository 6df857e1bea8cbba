package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What `ip netns add` does to a directory that is no mount of its own yet must
// not keep a namespace from being removed, whoever looks: here, with mounts of the
// test's own, as often as somebody may have done it.
func TestRootRemoveUnderRebinding(t *testing.T) {
	for layers := range 4 {
		for name, remove := range map[string]func(string) error{"peel": peel, "removeHidden": removeHidden} {
			path := filepath.Join(t.TempDir(), "ns")
			err := onOwnThread(func() error {
				if err := hide(path, layers); err != nil {
					return err
				}
				if err := unmount(path); err != nil {
					return err
				}
				if err := os.Remove(path); layers > 0 && !errors.Is(err, unix.EBUSY) {
					return fmt.Errorf("without more ado: %v, want EBUSY", err)
				} else if layers == 0 {
					return err
				}
				return remove(path)
			})
			if err != nil {
				t.Errorf("%s with %d layers: %v", name, layers, err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s with %d layers: the file is still there: %v", name, layers, err)
			}
		}
	}
}

// hide mounts a namespace on a file and then layers over it, where only this
// thread sees it.
func hide(path string, layers int) error {
	if err := ownMounts(); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return err
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	for range layers {
		dir := filepath.Dir(path)
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return nil
}
