package lab

import (
	"fmt"
	"runtime/debug"
)

// recovered runs fn and turns a panic into an error. Every goroutine of the lab
// runs its work through it: a panic elsewhere than in main's goroutine would end
// the process without putting the machine's values back.
func recovered(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}
