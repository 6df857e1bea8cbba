package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
	"golang.org/x/sys/unix"
)

const (
	tcp    = unix.IPPROTO_TCP
	icmp   = unix.IPPROTO_ICMP
	icmpv6 = unix.IPPROTO_ICMPV6
)

// protocols are those that have a name in a policy, ports says which have ports.
var protocols = []struct {
	name   string
	number uint8
	ports  bool
}{
	{"tcp", tcp, true},
	{"udp", unix.IPPROTO_UDP, true},
	{"icmp", icmp, false},
	{"icmpv6", icmpv6, false},
	{"sctp", unix.IPPROTO_SCTP, true},
	{"udplite", unix.IPPROTO_UDPLITE, true},
}

func hasPorts(number uint8) bool {
	for _, p := range protocols {
		if p.number == number {
			return p.ports
		}
	}
	return false
}

func protocolName(number uint8) string {
	for _, p := range protocols {
		if p.number == number {
			return p.name
		}
	}
	return "protocol " + strconv.Itoa(int(number))
}

// aProtocol is a protocol by its name or number.
func aProtocol(v any) (uint8, error) {
	if n, ok := v.(int64); ok {
		number, err := whole(1, 255)(n)
		return uint8(number), err
	}
	s, _ := v.(string)
	names := make([]string, len(protocols))
	for i, p := range protocols {
		if names[i] = p.name; s == p.name {
			return p.number, nil
		}
	}
	if _, err := strconv.ParseUint(s, 10, 8); err == nil {
		return 0, fmt.Errorf("a number has no quotes: write %s", s)
	}
	err := fmt.Errorf(`want "%s" or a protocol's number, such as 47 for GRE, got %s`, strings.Join(names, `", "`), describe(v))
	if near := Nearest(s, names); near != "" {
		err = fmt.Errorf("%w; did you mean %q?", err, near)
	}
	return 0, err
}

// somePorts is a port or a range of ports.
func somePorts(v any) (policy.Ports, error) {
	if n, ok := v.(int64); ok {
		port, err := whole(1, 65535)(n)
		return policy.Ports{Low: uint16(port), High: uint16(port)}, err
	}
	s, _ := v.(string)
	first, last, isRange := strings.Cut(s, "-")
	low, lowOK := port(first)
	high, highOK := port(last)
	switch {
	case !isRange && lowOK:
		return policy.Ports{}, fmt.Errorf("a number has no quotes: write %d", low)
	case !isRange || !lowOK || !highOK:
		return policy.Ports{}, notPorts(v)
	case low > high:
		return policy.Ports{}, fmt.Errorf("the lower port comes first: write \"%d-%d\", got %q", high, low, s)
	}
	return policy.Ports{Low: low, High: high}, nil
}

func notPorts(v any) error {
	s, _ := v.(string)
	first, last, isRange := strings.Cut(s, ":")
	low, lowOK := port(first)
	high, highOK := port(last)
	if isRange && lowOK && highOK {
		return fmt.Errorf("a range of ports has a dash: write \"%d-%d\", got %q", low, high, s)
	}
	return fmt.Errorf(`want a port or a range of ports from 1 to 65535, such as 53 or "8000-8100", got %s`, describe(v))
}

// port reads a port's number.
func port(s string) (number uint16, ok bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	return uint16(n), err == nil && n > 0
}

// overlap refuses two ranges that have a port in common.
func overlap(a, b policy.Ports) error {
	switch {
	case a.Low > b.High || b.Low > a.High:
		return nil
	case a == b:
		return fmt.Errorf("%s stands twice", portsText(a))
	}
	return fmt.Errorf("%s and %s, which is listed as well, overlap: write one range", portsText(a), portsText(b))
}

func portsText(p policy.Ports) string {
	if p.Low == p.High {
		return strconv.Itoa(int(p.Low))
	}
	return fmt.Sprintf("%d-%d", p.Low, p.High)
}
