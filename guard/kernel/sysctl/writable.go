package sysctl

import (
	"fmt"
	"os"
)

// Writable is why key can't be written, nil when it can. The kernel checks that
// when the file is opened (net_ctl_permissions); nothing is written.
func Writable(key string) error {
	path, err := Path(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s for writing: %w", key, reason(err))
	}
	return f.Close()
}
