package nft

import (
	"errors"
	"fmt"
	"slices"
)

// RemoveLeases removes the tables of leases that a dead guardian left in the calling
// thread's network namespace. It is no error if there are none; ErrOwned if a living
// guardian has them.
func RemoveLeases() error {
	return eachLeft(func(s *socket, left identity) error { return s.remove(left) })
}

// EndLeft ends leases in tables that a dead guardian left in the calling thread's
// network namespace. One that is not there is no error; ErrOwned if a living guardian
// has its table. The last lease of a table takes the table with it.
func EndLeft(of ...Lease) error {
	if len(of) == 0 {
		return nil
	}
	return eachLeft(func(s *socket, left identity) error { return s.endLeft(left, of) }, of...)
}

// eachLeft calls each for every table that was left, or for those that leases belong
// to.
func eachLeft(each func(*socket, identity) error, of ...Lease) (err error) {
	s, err := dialTable(raw.proto, raw.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lib.CloseLasting()) }()
	var errs []error
	for _, p := range leasePlaces {
		if of != nil && !slices.ContainsFunc(of, func(l Lease) bool { set := l.set(); return set != nil && set.place == p }) {
			continue
		}
		s.family, s.table = p.proto, p.name
		left, err := s.leftover()
		if err == nil && left != nil {
			err = each(s, *left)
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
