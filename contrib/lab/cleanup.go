package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Cleaned says what Cleanup did.
type Cleaned struct {
	Namespaces []string `json:"namespaces"`    // deleted
	Dirs       []string `json:"dirs"`          // removed
	Max        *Release `json:"max,omitempty"` // the machine's values, if a dead lab held them
	Live       []int    `json:"live"`          // pids of running labs, left alone
}

// Cleanup takes away what labs that are dead left behind, and nothing of a lab
// that is alive. Doing it again does nothing. It waits for MaxLock only when a
// dead lab held the machine's values.
func Cleanup(ctx context.Context) (Cleaned, error) {
	done := Cleaned{Namespaces: []string{}, Dirs: []string{}, Live: []int{}}
	dead, err := deadClaims(&done)
	if err != nil {
		return done, err
	}
	var problems []error
	for _, c := range dead {
		if err := c.cleanup(ctx, &done); err != nil {
			problems = append(problems, fmt.Errorf("clean up after lab %d: %w", c.Owner.PID, err))
		}
	}
	return done, errors.Join(problems...)
}

// deadClaims returns the claims whose owners are gone and notes the others.
func deadClaims(done *Cleaned) ([]*claim, error) {
	all, err := readClaims()
	if err != nil {
		return nil, err
	}
	var dead []*claim
	seen := map[int]bool{}
	for _, c := range all {
		alive, err := c.Owner.alive()
		if err != nil {
			return nil, err
		}
		if !alive {
			dead = append(dead, c)
		} else if !seen[c.Owner.PID] {
			seen[c.Owner.PID] = true
			done.Live = append(done.Live, c.Owner.PID)
		}
	}
	return dead, nil
}

// cleanup takes back one claim. The claim goes last, so that an interrupted
// cleanup is repeated.
func (c *claim) cleanup(ctx context.Context, done *Cleaned) error {
	for _, name := range c.Namespaces {
		if err := deleteNamespace(name); err != nil {
			return err
		}
		done.Namespaces = append(done.Namespaces, name)
	}
	if c.Dir != "" {
		if err := os.RemoveAll(c.Dir); err != nil {
			return fmt.Errorf("remove the lab's directory: %w", err)
		}
		done.Dirs = append(done.Dirs, c.Dir)
	}
	if c.Before == nil {
		return c.drop()
	}
	lock, err := lockMax(ctx)
	if err != nil {
		return err
	}
	r, err := c.settle()
	if err == nil && r != nil {
		done.Max = r
	}
	return errors.Join(err, lock.Close())
}

// settle puts back what a dead lab changed. The lock must be held. Claims of
// another boot are void, and a claim that is gone was settled by somebody else
// while the lock was awaited.
func (c *claim) settle() (*Release, error) {
	if _, err := os.Stat(c.path); err != nil {
		return nil, nil //nolint:nilerr // settled by somebody else
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if boot != c.Owner.Boot {
		return nil, c.drop()
	}
	r, err := putBack(*c.Before)
	if err != nil {
		return nil, err
	}
	return &r, c.drop()
}

// settleSizes puts back what dead labs left of the machine's values. The lock
// must be held.
func settleSizes() error {
	dead, err := deadClaims(new(Cleaned))
	if err != nil {
		return err
	}
	for _, c := range dead {
		if c.Before == nil {
			continue
		}
		if _, err := c.settle(); err != nil {
			return fmt.Errorf("put back what lab %d left: %w", c.Owner.PID, err)
		}
	}
	return nil
}

// Left names what this process has made and not taken away again: claims and
// namespaces. After everything is closed there is nothing.
func Left() ([]string, error) {
	me, err := self()
	if err != nil {
		return nil, err
	}
	left := []string{}
	for _, pattern := range []string{
		filepath.Join(StateDir, fmt.Sprintf("%d-*", me.PID)),
		filepath.Join(netnsDir, fmt.Sprintf("glab-%d-*", me.PID)),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		left = append(left, found...)
	}
	return left, nil
}
