package actions

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// NoLease is what the kernel holds where there is no lease: the value before of every
// change that makes one.
const NoLease = "none"

// A Lease is a restriction of traffic that the kernel ends by itself.
type Lease struct {
	Kind      nft.Kind
	Namespace string        // path of the network namespace, empty for our own
	Source    netip.Prefix  // masked (nft.Limit, nft.Drop)
	Flow      string        // name of the flow (nft.Bypass)
	Mark      string        // what tells its terms from others of that name, eight hex digits
	Rate      int           // new connections a second (nft.Limit)
	Burst     int           // that may come at once
	For       time.Duration // from one renewal
}

// The bounds of what a lease may be, whatever the ledger says: nobody is to be
// restricted for long, nor half the world at once.
const (
	minLease, maxLease = time.Second, 10 * time.Minute
	minBits4, minBits6 = 8, 32
	maxRate            = 1_000_000 // also of the burst
)

// kindNames are the kinds of the keys of leases.
var kindNames = map[nft.Kind]string{nft.Limit: "limit", nft.Drop: "drop", nft.Bypass: "bypass"}

// flowName is what names a flow in a policy.
var flowName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// LeaseEdit is the edit that makes a lease.
func LeaseEdit(l Lease) ledger.Edit {
	return ledger.Edit{Key: l.key(), Before: NoLease, After: l.text()}
}

// ParseLease is the inverse of LeaseEdit; ok is false for any other edit, such as one
// that would make a lease when it is undone.
func ParseLease(e ledger.Edit) (l Lease, ok bool) {
	kind, name, _ := strings.Cut(e.Key, ":")
	if l, ok = parseSubject(kind, name); !ok {
		return Lease{}, false
	}
	return l, l.parseTerms(e.After) && LeaseEdit(l) == e
}

// key is the key of a ledger edit: the kind, whom it is about, and where.
func (l *Lease) key() string {
	about := l.Flow
	if l.Kind != nft.Bypass {
		about = l.Source.String()
	}
	if l.Namespace != "" {
		about += "@" + l.Namespace
	}
	return kindNames[l.Kind] + ":" + about
}

// text are the terms as the ledger has them, and the comment of the element in the
// kernel.
func (l *Lease) text() string {
	switch l.Kind {
	case nft.Limit:
		return fmt.Sprintf("%d/s burst %d lease %s", l.Rate, l.Burst, spell(l.For))
	case nft.Drop:
		return "all dropped lease " + spell(l.For)
	default:
		return fmt.Sprintf("untracked %s lease %s", l.Mark, spell(l.For))
	}
}

// parseSubject reads what a key says: everything but the terms.
func parseSubject(kind, name string) (l Lease, ok bool) {
	about, namespace, elsewhere := strings.Cut(name, "@")
	if elsewhere != (namespace != "") {
		return Lease{}, false
	}
	l.Namespace = namespace
	for k, text := range kindNames {
		if text == kind {
			l.Kind, ok = k, true
		}
	}
	if !ok {
		return Lease{}, false
	}
	if l.Kind == nft.Bypass {
		l.Flow = about
		return l, flowName.MatchString(about)
	}
	l.Source, ok = parseSource(about)
	return l, ok
}

// parseSource takes a prefix only in the form in which it is printed, and none that
// is wide.
func parseSource(text string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.String() != text || p.Masked() != p || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4() {
		return p, p.Bits() >= minBits4
	}
	return p, p.Bits() >= minBits6
}

// The terms of each kind; that they are in bounds and in their one spelling comes
// after.
var (
	limitTerms  = regexp.MustCompile(`^(\d{1,7})/s burst (\d{1,7}) lease (\S{1,16})$`)
	dropTerms   = regexp.MustCompile(`^all dropped lease (\S{1,16})$`)
	bypassTerms = regexp.MustCompile(`^untracked ([0-9a-f]{8}) lease (\S{1,16})$`)
)

// parseTerms reads the terms.
func (l *Lease) parseTerms(text string) bool {
	switch l.Kind {
	case nft.Limit:
		m := limitTerms.FindStringSubmatch(text)
		return m != nil && parseRate(m[1], &l.Rate) && parseRate(m[2], &l.Burst) && parseFor(m[3], &l.For)
	case nft.Drop:
		m := dropTerms.FindStringSubmatch(text)
		return m != nil && parseFor(m[1], &l.For)
	default:
		m := bypassTerms.FindStringSubmatch(text)
		if m == nil {
			return false
		}
		l.Mark = m[1]
		return parseFor(m[2], &l.For)
	}
}

func parseRate(text string, into *int) bool {
	n, err := strconv.Atoi(text)
	*into = n
	return err == nil && n >= 1 && n <= maxRate
}

func parseFor(text string, into *time.Duration) bool {
	d, err := time.ParseDuration(text)
	*into = d
	return err == nil && d >= minLease && d <= maxLease && d%time.Millisecond == 0
}

// spell writes a lease's length without the zeros that time.Duration has: 10m, not
// 10m0s.
func spell(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// held is the lease as the kernel knows it.
func (l *Lease) held() nft.Lease {
	return nft.Lease{Kind: l.Kind, Source: l.Source, Flow: l.Flow}
}

// leaseOf is what a lease found in the kernel of a namespace is about, its terms
// unread.
func leaseOf(namespace string, k nft.Lease) Lease {
	return Lease{Kind: k.Kind, Namespace: namespace, Source: k.Source, Flow: k.Flow}
}
