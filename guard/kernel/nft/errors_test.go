package nft

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Capabilities belong to threads: the test gives up CAP_NET_ADMIN on one and lets
// that thread end, locked, with its goroutine.
func TestInstallSaysWhatCapabilityIsNeeded(t *testing.T) {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if drop := dropNetAdmin(); drop != nil {
			t.Error(drop)
			return
		}
		_, err = Install(IPv4|IPv6, 0, 0)
	}()
	<-done
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN is needed") {
		t.Errorf("got %v, want EPERM and the capability's name", err)
	}
}

// dropNetAdmin takes CAP_NET_ADMIN from the calling thread's effective set.
func dropNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // two words of 32 capabilities each
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&header, &sets[0])
}

func TestErrorsOfAKernelWithoutNFTables(t *testing.T) {
	for _, tc := range []struct {
		errno                unix.Errno
		unsupported, lacking bool
	}{
		{unix.EPROTONOSUPPORT, true, false}, // no nfnetlink
		{unix.EAFNOSUPPORT, true, true},
		{unix.EINVAL, true, false}, // no nf_tables
		{unix.EOPNOTSUPP, true, true},
		{unix.ENOENT, false, true}, // no such expression
		{unix.EPERM, false, false},
		{unix.ENOMEM, false, false},
	} {
		if got := errors.Is(unsupported(tc.errno), ErrUnsupported); got != tc.unsupported {
			t.Errorf("unsupported(%s) is %v", tc.errno, got)
		}
		if got := errors.Is(lacking(tc.errno), ErrUnsupported); got != tc.lacking {
			t.Errorf("lacking(%s) is %v", tc.errno, got)
		}
		if !errors.Is(unsupported(tc.errno), tc.errno) || !errors.Is(lacking(tc.errno), tc.errno) {
			t.Errorf("%s is lost", tc.errno)
		}
	}
}
