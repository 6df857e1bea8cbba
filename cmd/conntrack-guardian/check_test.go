package main

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// Where nobody has installed a policy check says what is in force instead.
func TestCheckWithoutPolicy(t *testing.T) {
	gone := fmt.Errorf("read policy: %w", fs.ErrNotExist)
	for _, tc := range []struct {
		path string
		err  error
		says bool
	}{
		{defaultPolicy, gone, true},
		{defaultPolicy, fs.ErrPermission, false},
		{"other.toml", gone, false},
	} {
		if err := unread(tc.path, tc.err); strings.Contains(err.Error(), "built-in policy") != tc.says {
			t.Errorf("%s, %v: %v", tc.path, tc.err, err)
		}
	}
}
