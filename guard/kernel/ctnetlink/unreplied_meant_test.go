package ctnetlink

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// What stays, stays by any one of its bits; an offloaded entry can't be had in every
// kernel.
func TestUnrepliedMeant(t *testing.T) {
	u := unreplied{netip.MustParsePrefix("10.7.0.0/24")}
	of := func(address string, status uint32) *Entry {
		e := &Entry{Family: unix.AF_INET, Status: status}
		e.Orig.Src = netip.MustParseAddr(address).As16()
		return e
	}
	for _, status := range []uint32{StatusSeenReply, StatusFixedTimeout, StatusOffload} {
		if u.meant(of("10.7.0.1", status)) || u.meant(of("10.7.0.1", status|StatusSrcNAT)) {
			t.Errorf("an entry of status %#x is to go", status)
		}
	}
	for _, status := range []uint32{0, StatusSrcNAT, StatusDstNAT} {
		if !u.meant(of("10.7.0.1", status)) {
			t.Errorf("an entry of status %#x stays", status)
		}
	}
	if u.meant(of("10.7.1.1", 0)) {
		t.Error("another source's entry is to go")
	}
}
