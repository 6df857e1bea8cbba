package netns

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Capabilities belong to threads: the test gives up CAP_SYS_ADMIN on one and
// lets that thread end, locked, with its goroutine.
func TestRootEnterSaysWhatCapabilityIsNeeded(t *testing.T) {
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := dropSysAdmin(); err != nil {
			t.Error(err)
			return
		}
		fd, err := open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		o.inside("/run/netns/x", fd, func() error { t.Error("entered"); return nil })
	}()
	<-done
	if !errors.Is(o.err, unix.EPERM) || !strings.Contains(o.err.Error(), "CAP_SYS_ADMIN is needed") {
		t.Errorf("got %v, want EPERM and the capability's name", o.err)
	}
}

// dropSysAdmin takes CAP_SYS_ADMIN from the calling thread's effective set.
func dropSysAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // two words of 32 capabilities each
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	sets[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	return unix.Capset(&header, &sets[0])
}
