package nft

import (
	"errors"
	"fmt"
	"slices"
)

// EndLeft ends leases in tables that a dead guardian left in the calling thread's
// network namespace. One that is not there is no error; ErrOwned if a living guardian
// has its table. The last lease of a table takes the table with it.
func EndLeft(of ...Lease) (err error) {
	if len(of) == 0 {
		return nil
	}
	s, err := dialTable(raw.proto, raw.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lib.CloseLasting()) }()
	var errs []error
	for _, p := range leasePlaces {
		if !slices.ContainsFunc(of, func(l Lease) bool { set := l.set(); return set != nil && set.place == p }) {
			continue
		}
		s.family, s.table = p.proto, p.name
		left, err := s.leftover()
		if err == nil && left != nil {
			err = s.endLeft(*left, of)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// endLeft ends leases in a table that nobody owns.
func (s *socket) endLeft(left identity, of []Lease) error {
	remain := 0
	for _, set := range leaseSets {
		if set.place != (leasePlace{s.family, s.table}) {
			continue
		}
		held, err := s.heldIn(set)
		if err != nil {
			return fmt.Errorf("read leases of table %s: %w", s.name(), permission(err))
		}
		var keys [][]byte
		for _, h := range held {
			if slices.Contains(of, h.Lease) {
				keys = append(keys, h.key)
			}
		}
		remain += len(held) - len(keys)
		if err := s.removeLeases(set, keys); err != nil {
			return fmt.Errorf("end leases of table %s: %w", s.name(), permission(err))
		}
	}
	if remain > 0 {
		return nil
	}
	return s.remove(left)
}
