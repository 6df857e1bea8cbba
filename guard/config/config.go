package config

import "github.com/conntrack-guardian/conntrack-guardian/policy"

// Version is the version of the policy file's language.
const Version = 1

// A File is a policy file that was read and found right.
type File struct {
	Policy    policy.Config
	Namespace string // path of the guarded network namespace, "" for our own
	Record    Record
	Control   Control
	Hash      string    // of the texts, see Hash; "" without a file
	Sources   []Setting // where each value stands; nil without a file
}

// Record bounds the flight record.
type Record struct {
	Size int64 // bytes on disk in all, 0 for no record
}

// Control says who may use the control socket beside root and the daemon's own user.
type Control struct {
	ReadAll bool   // everybody may read
	Group   string // whose members may read and change, "" for the daemon's own group
}

// Default is the policy in force when there is no file.
func Default() File { return File{Policy: policy.Default(), Record: Record{Size: 64 * mebibyte}} }
