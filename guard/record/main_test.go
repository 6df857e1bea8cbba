package record

import (
	"log"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestMain has no log kept of what the tests open: some of them let this process write no
// file beyond a size, as a full disk does, and go test's own is one.
func TestMain(m *testing.M) {
	args := slices.DeleteFunc(slices.Clone(os.Args), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile=") })
	if len(args) < len(os.Args) {
		program, err := os.Executable()
		if err == nil {
			err = syscall.Exec(program, args, os.Environ())
		}
		log.Fatal(err)
	}
	m.Run()
}
