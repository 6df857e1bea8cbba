package stat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long the kernel may take over an answer of some kilobytes
// that it composes at once.
const patience = time.Second

// getStatsCPU is the message type IPCTNL_MSG_CT_GET_STATS_CPU of ctnetlink.
const getStatsCPU = unix.NFNL_SUBSYS_CTNETLINK<<8 | 4

// nfgenmsg is the size of the struct of that name, at the head of each body.
const nfgenmsg = 4

// attributes gives the column of each CTA_STATS_* attribute
// (linux/netfilter/nfnetlink_conntrack.h). The numbers left out are those of
// counters that the kernel has dropped.
var attributes = map[uint16]Column{
	2: Found, 3: New, 4: Invalid, 5: Ignore, 6: Delete, 8: Insert, 9: InsertFailed,
	10: Drop, 11: EarlyDrop, 12: Error, 13: SearchRestart, 14: ClashResolve, 15: ChainTooLong,
}

// socket is the source of kernels without the file. A netlink socket stays in
// the namespace that it was made in.
type socket struct {
	conn  *netlink.Conn
	found [columns]bool
}

func openSocket() (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open conntrack counters: %w", err)
	}
	return &socket{conn: conn}, nil
}

func (s *socket) rows() ([]row, error) {
	rows, err := s.dump()
	if err != nil {
		return nil, fmt.Errorf("read conntrack counters over netlink: %w", err)
	}
	return rows, nil
}

func (s *socket) dump() ([]row, error) {
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	// Any family, version 0, no resource id.
	answers, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: getStatsCPU, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, nfgenmsg),
	})
	if err != nil {
		return nil, err
	}
	if len(answers) == 0 {
		return nil, errors.New("no answer for any CPU")
	}
	rows := make([]row, len(answers))
	for cpu, answer := range answers {
		if err := s.decode(answer.Data, &rows[cpu]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// decode reads the counters of one CPU.
func (s *socket) decode(body []byte, into *row) error {
	if len(body) < nfgenmsg {
		return errors.New("answer cut short")
	}
	decoder, err := netlink.NewAttributeDecoder(body[nfgenmsg:])
	if err != nil {
		return err
	}
	decoder.ByteOrder = binary.BigEndian
	for decoder.Next() {
		if column, ok := attributes[decoder.Type()]; ok {
			into[column] = decoder.Uint32()
			s.found[column] = true
		}
	}
	return decoder.Err()
}

func (s *socket) missing() (list []string) {
	for column, found := range s.found {
		if !found {
			list = append(list, names[column])
		}
	}
	return list
}

func (s *socket) Close() error { return s.conn.Close() }
