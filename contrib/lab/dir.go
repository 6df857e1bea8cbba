package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Dir is a directory that is removed with all that is in it: by Close, or by
// Cleanup after a SIGKILL.
type Dir struct {
	Path  string
	claim *claim
}

// NewDir makes one.
func NewDir() (*Dir, error) {
	c, err := newClaim()
	if err != nil {
		return nil, err
	}
	c.Dir = filepath.Join(StateDir, fmt.Sprintf("%d-%d", c.Owner.PID, c.Seq))
	if err := c.write(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make the lab's directory: %w", err), c.drop())
	}
	return &Dir{c.Dir, c}, nil
}

// Close removes the directory.
func (d *Dir) Close() error {
	if err := os.RemoveAll(d.Path); err != nil {
		return fmt.Errorf("remove the lab's directory: %w", err)
	}
	return d.claim.drop()
}
