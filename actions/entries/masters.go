package entries

import (
	"context"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// A master is the original direction of a connection that has opened others, such as
// FTP's for its data. Its zone is left out: one too many is left alone.
type master struct {
	tuple ctnetlink.Tuple
	proto uint8
}

// masters are those with living children.
type masters map[master]struct{}

// findMasters asks the kernel for the children, which it tells by a bit of the status.
func findMasters(ctx context.Context, conn *ctnetlink.Conn) (masters, error) {
	found := masters{}
	children := ctnetlink.Query{Status: ctnetlink.StatusExpected, StatusMask: ctnetlink.StatusExpected}
	_, err := conn.Walk(ctx, children, func(e *ctnetlink.Entry) bool {
		if e.MasterProto != 0 {
			found[master{e.Master, e.MasterProto}] = struct{}{}
		}
		return true
	}, nil)
	return found, err
}

func (m masters) have(e *ctnetlink.Entry) bool {
	if len(m) == 0 {
		return false
	}
	_, ok := m[master{e.Orig, e.Proto}]
	return ok
}
