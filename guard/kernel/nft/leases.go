package nft

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Leases are the restrictions in force in one network namespace. They end by
// themselves, and at the latest with Close; where the kernel knows the OWNER flag,
// with the process. The methods may be called from several goroutines.
type Leases struct {
	mu     sync.Mutex
	socket *socket // for reading
	tables []*leaseTable
	closed bool
}

// OpenLeases opens a socket in the calling thread's network namespace. It makes no
// table.
func OpenLeases() (*Leases, error) {
	return openLeases(leaseSettings{flags: flagOwner, size: leaseSize, refused: refusedSize, forget: forget})
}

// leaseBuffer holds the messages of a batch, and the answers to them.
const leaseBuffer = 1 << 20

func openLeases(with leaseSettings) (*Leases, error) {
	s, err := dialTable(raw.proto, raw.name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.conn.SetReadBuffer(leaseBuffer), s.conn.SetWriteBuffer(leaseBuffer)); err != nil {
		return nil, errors.Join(fmt.Errorf("open nf_tables: %w", permission(err)), s.lib.CloseLasting())
	}
	l := &Leases{socket: s}
	for _, p := range leasePlaces {
		about := *s
		about.family, about.table = p.proto, p.name
		l.tables = append(l.tables, &leaseTable{leasePlace: p, socket: &about, with: with, held: map[Lease]holding{}})
	}
	return l, nil
}

var errLeasesClosed = errors.New("the leases are closed")

// Hold puts leases in force, or prolongs them, for as long as lease from now; what
// they refused until now is still counted, and a limiter goes on as it was.
//
// A table is made with its first lease, in the place of one that a dead guardian
// left; ErrOwned if a living one has it. One that was made and is not there as it was
// is made again, with all its leases: remade names it. If a table was made for other
// terms, it is made anew if it holds none but these leases, otherwise that is
// ErrTerms. An error of one table does not keep the others from being seen to.
func (l *Leases) Hold(terms Terms, lease time.Duration, of ...Request) (remade []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLeasesClosed
	}
	if err := checkHold(&terms, lease, of); err != nil {
		return nil, fmt.Errorf("hold leases: %w", err)
	}
	var errs []error
	for _, t := range l.tables {
		again, err := t.hold(&terms, lease, of)
		if again {
			remade = append(remade, t.socket.name())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("hold leases in table %s: %w", t.socket.name(), permission(err)))
		}
	}
	return remade, errors.Join(errs...)
}

func checkHold(terms *Terms, lease time.Duration, of []Request) error {
	if lease < time.Second {
		return fmt.Errorf("a lease of %s", lease)
	}
	if err := terms.check(); err != nil {
		return err
	}
	for _, r := range of {
		if err := r.check(terms); err != nil {
			return err
		}
		if r.Kind == Limit && (terms.Rate == 0 || terms.Burst == 0) {
			return fmt.Errorf("lease %s: a rate of %d with a burst of %d", r.Lease, terms.Rate, terms.Burst)
		}
	}
	return nil
}

// hold holds those of the leases that belong into the table.
func (t *leaseTable) hold(terms *Terms, lease time.Duration, all []Request) (remade bool, err error) {
	bySet := map[*leaseSet][]Request{}
	var of []Request
	for _, r := range all {
		if s := r.set(); s.place == t.leasePlace {
			bySet[s], of = append(bySet[s], r), append(of, r)
		}
	}
	if len(of) == 0 {
		return false, nil
	}
	if remade, err = t.ready(terms, of); err != nil {
		return remade, err
	}
	for s, of := range bySet {
		if err := t.put(s, lease, of); err != nil {
			return remade, err
		}
	}
	return remade, nil
}

// End ends leases; that of one which ended already is no error. The last lease of a
// table takes the table with it.
func (l *Leases) End(of ...Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil // they ended with it
	}
	var errs []error
	for _, t := range l.tables {
		if err := t.end(of); err != nil {
			errs = append(errs, fmt.Errorf("end leases in table %s: %w", t.socket.name(), permission(err)))
		}
	}
	return errors.Join(errs...)
}

// end ends those of the leases that the table holds.
func (t *leaseTable) end(of []Lease) error {
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	ended := map[*leaseSet][][]byte{}
	left := maps.Clone(t.held)
	for _, l := range of {
		if _, ok := left[l]; ok {
			delete(left, l)
			ended[l.set()] = append(ended[l.set()], t.key(l))
		}
	}
	if len(ended) == 0 {
		return nil
	}
	maps.DeleteFunc(left, func(_ Lease, h holding) bool { return h.until <= now })
	if len(left) == 0 {
		return t.remove()
	}
	for s, keys := range ended {
		if err := t.socket.removeLeases(s, keys); err != nil {
			return err
		}
	}
	t.held = left
	return nil
}

// remove removes the table and so ends all of its leases.
func (t *leaseTable) remove() error {
	if t.made != (identity{}) {
		if err := t.socket.remove(t.made); err != nil {
			return err
		}
	}
	t.made, t.rules = identity{}, nil
	clear(t.held)
	return nil
}

// Present reports whether all tables that were made are there as they were made. It
// says nothing about their leases.
func (l *Leases) Present() (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, nil
	}
	for _, t := range l.tables {
		if t.made == (identity{}) {
			continue
		}
		if is, err := t.socket.present(t.made, t.rules); !is || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Close ends all leases. Calling it again does nothing.
func (l *Leases) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, t := range l.tables {
		if !t.made.owned() { // an owned one goes with its socket (nft_rcv_nl_event)
			errs = append(errs, t.remove())
		}
	}
	return errors.Join(append(errs, l.socket.lib.CloseLasting())...)
}
