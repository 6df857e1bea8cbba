package lab

import (
	"strings"
	"testing"
)

// A panic on a thread inside a namespace is an error outside.
func TestPanicsBecomeErrors(t *testing.T) {
	err := onOwnThread(func() error { panic("the lab broke") })
	if err == nil || !strings.Contains(err.Error(), "the lab broke") || !strings.Contains(err.Error(), "recovered_test.go") {
		t.Errorf("%v, want the panic and where it was", err)
	}
}
