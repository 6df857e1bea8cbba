package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/google/renameio/v2"
)

// StateDir holds one file per claim of a lab. It lies in /run: what it describes
// does not outlive the boot either.
const StateDir = "/run/conntrack-guardian-lab"

// Sizes are the two values of the conntrack table that are global to the machine.
type Sizes struct {
	Max     int `json:"max"`     // nf_conntrack_max, entries per namespace
	Buckets int `json:"buckets"` // nf_conntrack_buckets
}

// A claim names what one process made or changed, so that it can be taken back
// by somebody else after a SIGKILL.
type claim struct {
	Owner      process  `json:"owner"`
	Seq        int64    `json:"seq"` // order within the owner
	Namespaces []string `json:"namespaces,omitempty"`
	Dir        string   `json:"dir,omitempty"`    // removed with all that is in it
	Before     *Sizes   `json:"before,omitempty"` // the machine's values before the owner changed them

	path string
}

// claims numbers this process's claims.
var claims atomic.Int64

// newClaim returns a claim of this process that is not on disk yet.
func newClaim() (*claim, error) {
	me, err := self()
	if err != nil {
		return nil, err
	}
	seq := claims.Add(1)
	name := fmt.Sprintf("%d-%d.json", me.PID, seq)
	return &claim{Owner: me, Seq: seq, path: filepath.Join(StateDir, name)}, nil
}

// write puts the claim on disk. It must return before what is claimed begins to
// exist.
func (c *claim) write() error {
	if err := os.MkdirAll(StateDir, 0o755); err != nil {
		return fmt.Errorf("make the lab's state directory: %w", err)
	}
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return fmt.Errorf("encode claim: %w", err)
	}
	if err := renameio.WriteFile(c.path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write claim %s: %w", c.path, err)
	}
	return nil
}

// drop removes the claim after what it claims is gone, and the state directory
// with the last of them.
func (c *claim) drop() error {
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove claim: %w", err)
	}
	_ = os.Remove(StateDir) // fails while others have claims, as it should
	return nil
}

// readClaims returns the claims on disk, the newest first: a later claim's
// "before" may be an earlier one's doing, so taking back goes in this order.
func readClaims() ([]*claim, error) {
	paths, err := filepath.Glob(filepath.Join(StateDir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*claim
	for _, path := range paths {
		c, err := readClaim(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its owner was quicker
		}
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	sortNewestFirst(all)
	return all, nil
}

func readClaim(path string) (*claim, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read claim: %w", err)
	}
	c := &claim{path: path}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read claim %s: %w", path, err)
	}
	return c, nil
}
