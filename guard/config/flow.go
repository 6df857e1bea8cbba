package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	bypassTable = "bypass"
	// anyFlow stands for the name of a flow where none in particular is meant.
	anyFlow = "NAME"
	// maxFlows bounds what each packet may cost: it meets the rules of all flows that
	// are leased.
	maxFlows = 32
)

var flowName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// flowSchema holds every key of a flow once.
var flowSchema = []setting[policy.Flow]{
	key("mode", func(f *policy.Flow) *mode { return &f.Mode }, aMode),
	key("from", func(f *policy.Flow) *[]netip.Prefix { return &f.From }, ends),
	key("to", func(f *policy.Flow) *[]netip.Prefix { return &f.To }, ends),
	key("proto", func(f *policy.Flow) *uint8 { return &f.Proto }, aProtocol),
	key("ports", func(f *policy.Flow) *[]policy.Ports { return &f.Ports }, some(listOf(64, `53, "8000-8100"`, somePorts), overlap)),
	key("lifeline", func(f *policy.Flow) *bool { return &f.Lifeline }, aFlag),
	key("hold", func(f *policy.Flow) *span { return &f.Hold }, duration(time.Second, month)),
}

// ends are the addresses at one end of a flow.
var ends = some(prefixes, nested)

// newFlow is a flow of which only the name is written. It may act, since what else
// it needs is its approval.
func newFlow(name string) policy.Flow {
	return policy.Flow{Name: name, Mode: policy.Act, Hold: 10 * time.Minute}
}

func flowTable(name string) string { return toml.Key{bypassTable, name}.String() }

// isFlow reports whether a key is the table of a flow, inFlow whether it stands in
// one.
func isFlow(key toml.Key) bool { return len(key) == 2 && key[0] == bypassTable }
func inFlow(key toml.Key) bool { return len(key) > 2 && key[0] == bypassTable }

// generic is the name of a key with anyFlow for that of a flow.
func generic(key toml.Key) string {
	if isFlow(key) || inFlow(key) {
		key = slices.Clone(key)
		key[1] = anyFlow
	}
	return key.String()
}

func isTable(key toml.Key) bool { return tables[generic(key)] }

// flow is the flow of this name, new or not.
func (r *reading) flow(name string) *policy.Flow {
	all := &r.file.Policy.Bypass
	i := slices.IndexFunc(*all, func(f policy.Flow) bool { return f.Name == name })
	if i < 0 {
		i = len(*all)
		*all = append(*all, newFlow(name))
	}
	return &(*all)[i]
}

// addFlow takes the table of a flow.
func (r *reading) addFlow(e entry) {
	name := e.key[1]
	if _, again := r.flows[name]; again {
		return
	}
	r.flows[name] = e.start
	r.flow(name)
	if !flowName.MatchString(name) {
		r.report(e.start, e.key.String(), fmt.Sprintf("a flow's name is 1 to 32 letters, digits, - and _, got %q", name))
	}
	if len(r.flows) == maxFlows+1 {
		r.report(e.start, e.key.String(), fmt.Sprintf("more than %d flows: join some that have the same proto", maxFlows))
	}
}

// checkFlows asks of each flow what no value of it shows alone.
func (r *reading) checkFlows() {
	all := r.file.Policy.Bypass
	slices.SortFunc(all, func(a, b policy.Flow) int { return cmp.Compare(a.Name, b.Name) })
	for i := range all {
		c := flowCheck{r, &all[i], flowTable(all[i].Name) + "."}
		c.checkEnds()
		c.checkProto()
		if c.right("from") && c.right("to") {
			c.checkPair()
		}
	}
}

// A flowCheck is the check of one flow.
type flowCheck struct {
	*reading
	flow  *policy.Flow
	table string // with a dot
}

// right reports whether a key is written and has no problem, lacks whether it is not
// written at all.
func (c flowCheck) right(key string) bool {
	_, seen := c.seen[c.table+key]
	return seen && !c.bad[c.table+key]
}

func (c flowCheck) lacks(key string) bool { return !c.written(c.table + key) }

// need reports a key that is missing and says how it is written.
func (c flowCheck) need(key, write string) {
	if c.lacks(key) {
		c.report(c.flows[c.flow.Name], c.table+key, "missing: write "+write)
	}
}

// wrong reports a key that does not fit the others.
func (c flowCheck) wrong(key, message string) {
	if c.right(key) {
		c.report(c.seen[c.table+key].at, c.table+key, message)
	}
}

func (c flowCheck) checkEnds() {
	c.need("from", `the addresses that begin the connections, such as from = ["10.0.0.0/8"]`)
	switch {
	case c.flow.Lifeline:
		c.wrong("to", "a lifeline leads to the gateway itself: leave this out")
	case c.lacks("lifeline") || c.right("lifeline"):
		c.need("to", `the addresses that they are made to, such as to = ["192.0.2.53"]`)
	}
}

func (c flowCheck) checkProto() {
	write, ports := `the protocol, such as proto = "udp"`, "53"
	if c.flow.Lifeline {
		write, ports = `proto = "tcp"`, "22"
	}
	c.need("proto", write)
	if !c.right("proto") {
		return
	}
	proto := protocolName(c.flow.Proto)
	switch {
	case c.flow.Lifeline && c.flow.Proto != tcp:
		c.wrong("proto", fmt.Sprintf(`a lifeline is TCP: write "tcp", got %s`, describe(c.seen[c.table+"proto"].any)))
	case hasPorts(c.flow.Proto):
		c.need("ports", fmt.Sprintf("the ports that %s connections are made to, such as ports = [%s]", proto, ports))
	default:
		c.wrong("ports", proto+" has no ports: leave this out")
	}
	c.checkICMP()
}

// checkICMP refuses a flow of one family's ICMP between addresses of the other.
func (c flowCheck) checkICMP() {
	v4, v6 := families(c.flow.From)
	switch {
	case !c.right("from"):
	case c.flow.Proto == icmp && !v4:
		c.wrong("proto", `from has no IPv4 addresses, and IPv6 has an ICMP of its own: write "icmpv6"`)
	case c.flow.Proto == icmpv6 && !v6:
		c.wrong("proto", `from has no IPv6 addresses, and IPv4 has an ICMP of its own: write "icmp"`)
	}
}

// checkPair asks whether from and to go together.
func (c flowCheck) checkPair() {
	from4, from6 := families(c.flow.From)
	to4, to6 := families(c.flow.To)
	if !(from4 && to4) && !(from6 && to6) {
		c.conflict(c.table+"from", c.table+"to", "from and to must both hold IPv4 addresses, or both IPv6 addresses")
	}
	for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		if slices.Contains(c.flow.From, all) && slices.Contains(c.flow.To, all) {
			c.conflict(c.table+"from", c.table+"to", fmt.Sprintf("only one of from and to may be %s: both are every address there is", all))
		}
	}
}
