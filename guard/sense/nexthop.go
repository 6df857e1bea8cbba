package sense

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A nexthopHead is a struct nhmsg that says nothing, as a question by number has it.
type nexthopHead struct{}

func (nexthopHead) Len() int          { return unix.SizeofNhmsg }
func (nexthopHead) Serialize() []byte { return make([]byte, unix.SizeofNhmsg) }

// gatewaysOf are those of a nexthop object, which may be a group of others but not of
// groups (nexthop_create_group).
func (r *routing) gatewaysOf(id uint32) ([]netip.Addr, error) {
	list, members, err := r.nexthop(id)
	failed := []error{err}
	for _, m := range members {
		found, _, err := r.nexthop(m)
		list, failed = append(list, found...), append(failed, err)
	}
	return list, errors.Join(failed...)
}

// nexthop is the gateway of a nexthop object, or the members of a group.
func (r *routing) nexthop(id uint32) (gateway []netip.Addr, members []uint32, err error) {
	q := r.request(unix.RTM_GETNEXTHOP, 0)
	q.AddData(nexthopHead{})
	q.AddData(nl.NewRtAttr(unix.NHA_ID, nl.Uint32Attr(id)))
	found, err := q.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEXTHOP)
	if err == nil && (len(found) != 1 || len(found[0]) < unix.SizeofNhmsg) {
		err = errShort
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look up nexthop %d: %w", id, err)
	}
	attrs, err := netlink.UnmarshalAttributes(found[0][unix.SizeofNhmsg:])
	if err != nil {
		return nil, nil, fmt.Errorf("look up nexthop %d: %w", id, err)
	}
	for _, a := range attrs {
		switch a.Type {
		case unix.NHA_GATEWAY:
			if addr, ok := netip.AddrFromSlice(a.Data); ok {
				gateway = append(gateway, addr)
			}
		case unix.NHA_GROUP: // of struct nexthop_grp, which begins with the number
			for text := a.Data; len(text) >= unix.SizeofNexthopGrp; text = text[unix.SizeofNexthopGrp:] {
				member, _ := number(text)
				members = append(members, member)
			}
		}
	}
	return gateway, members, nil
}
