package sense

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Where a resolver finds its name servers, and where systemd-resolved says which it
// asks for others.
const (
	resolvConf  = "/etc/resolv.conf"
	upstreamsOf = "/run/systemd/resolve/resolv.conf"
)

// An Allowlist finds who is never to be limited: the gateway itself, and those without
// whom it, or its operator, is cut off. It has one user at a time.
type Allowlist struct {
	namespace string
	path      *netns.Path // of the namespace, nil for our own
	resolv    string      // file with name servers, of our own mount namespace
	upstreams string      // and of those behind the one that is systemd-resolved
	sockets   func() ([]socket, error)
	clock     func() time.Duration // of boot

	id    netns.ID              // of the namespace that was looked at
	known [whose][]netip.Prefix // what the newest reading has found
	seen  seenOperators         // who has been connected to the gateway for long
}

// Whose an address is.
const (
	own = iota
	gateways
	nameServers
	operators
	whose
)

// Why an address is allowed, and what to call all that are allowed for it.
var (
	why = [whose]string{
		own: "own address", gateways: "default gateway", nameServers: "name server", operators: "SSH peer",
	}
	called = [whose]string{
		own: "own addresses", gateways: "default gateways", nameServers: "name servers", operators: "SSH peers",
	}
)

// NewAllowlist makes an allowlist of the network namespace at a path, the caller's own
// if it is empty. Name servers are always our own.
func NewAllowlist(namespace string) *Allowlist {
	a := &Allowlist{namespace: namespace, resolv: resolvConf, upstreams: upstreamsOf, sockets: tcpSockets, clock: boot.Now}
	if namespace != "" {
		a.path = netns.NewPath(namespace)
	}
	return a
}

// Read finds them anew: own addresses, default gateways, name servers in use, and who
// was connected to the port of SSH or to one of a lifeline at the first reading, or is in
// two that are more than two minutes apart; they are forgotten an hour later. The policy's
// own list is not among them.
//
// What can't be read is as it was before, along with what could be read of it, and the
// error says what that is: both are returned. It takes milliseconds, and as many
// deadlines as it asks questions where the kernel is silent.
func (a *Allowlist) Read(ctx context.Context, c policy.Config) ([]policy.Allowed, error) {
	a.follow()
	var failed []error
	take := func(of int, found []netip.Prefix, err error) {
		if err != nil {
			failed = append(failed, fmt.Errorf("find %s: %w", called[of], err))
			found = append(found, a.known[of]...)
		}
		a.known[of] = distinct(found)
	}
	err := netns.Do(a.namespace, func() error {
		found, err := ownAddresses()
		take(own, found, err)
		found, err = defaultGateways()
		take(gateways, found, err)
		found, err = a.connected(portsOf(&c))
		take(operators, found, err)
		return context.Cause(ctx)
	})
	found, unread := a.servers()
	take(nameServers, found, unread)
	return a.list(), errors.Join(append(failed, err)...)
}

// follow forgets all of a namespace that the path names no longer.
func (a *Allowlist) follow() {
	if a.path == nil {
		return
	}
	now, err := a.path.ID()
	if err != nil { // to enter it fails too, and says so
		return
	}
	if now.Another(a.id) {
		a.known, a.seen = [whose][]netip.Prefix{nameServers: a.known[nameServers]}, seenOperators{}
	}
	a.id = now
}

// connected are those who are connected to ports for long, and who lately were.
func (a *Allowlist) connected(ports []policy.Ports) ([]netip.Prefix, error) {
	sockets, err := a.sockets()
	a.seen.see(a.clock(), connectionsTo(ports, sockets), err == nil)
	return a.seen.list(), err
}

// servers are the name servers in use. Without a resolv.conf there are none but, as the
// C library has it, the gateway itself.
func (a *Allowlist) servers() ([]netip.Prefix, error) {
	servers, err := readServers(a.resolv)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if slices.ContainsFunc(servers, isResolved) {
		behind, unread := readServers(a.upstreams)
		servers, err = append(servers, behind...), errors.Join(err, unread)
	}
	// One on the gateway itself is its own.
	servers = slices.DeleteFunc(servers, netip.Addr.IsLoopback)
	return singles(servers), err
}

// list is all that is known.
func (a *Allowlist) list() (found []policy.Allowed) {
	for of, prefixes := range a.known {
		for _, p := range prefixes {
			found = append(found, policy.Allowed{Prefix: p, Why: why[of], Own: of == own})
		}
	}
	return found
}

// singles are prefixes of one address each.
func singles(addrs []netip.Addr) (list []netip.Prefix) {
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// distinct sorts prefixes and keeps one of each.
func distinct(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
