package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A ClassUse is what a census found of the entries of one timeout.
type ClassUse struct {
	Entries int
	Least   int // of them for certain
	// Older are those that have been silent for as long as Lasting gives them or longer:
	// with that timeout they would not be there.
	Older int
}

// A LastingTimeout is a timeout that may be shortened for good. Unlike the measure
// shorten-timeouts it holds in calm as well, so its floors are higher.
type LastingTimeout struct {
	Key      string  `json:"key"`
	Now      int     `json:"now"` // seconds, without the guardian's changes
	To       int     `json:"to"`  // seconds
	Entries  int     `json:"entries"`
	Share    float64 `json:"share"` // of the table, 0–1
	Frees    int     `json:"frees"`
	AtPeak   int     `json:"frees_at_peak"`
	Reason   string  `json:"reason"`
	Gain     string  `json:"gain"`
	TradeOff string  `json:"trade_off"`
}

// A lasting is how far a timeout may be shortened for good, and what that costs.
type lasting struct {
	seconds  int
	tradeOff string
}

// established says what RFC 5382, REQ-5, does of connections that are silent.
const established = "RFC 5382 (REQ-5) allows no less than 2 h 4 min. Connections that are silent for longer are forgotten, and hang " +
	"when they speak again: without keepalives (Linux sends the first after 2 h) those are SSH sessions, database pools and the like."

// transitory is what it says of those that are not established.
const transitory = "RFC 5382 (REQ-5) asks for 4 min of connections that open or close; the kernel's own default is under that already. "

// lastings are what may stay for good. They lie between the kernel's defaults
// (tcp_timeouts, udp_timeouts and others in nf_conntrack_proto_*.c) and the floors of the
// policy; those of which the default is at the least already matter only where somebody
// has raised them, as kube-proxy does CLOSE_WAIT.
var lastings = [Timeouts]lasting{
	TCPSynSent: {60, transitory + "A server that answers a SYN after more than 60 s is not heard. Clients repeat it after 1, 3, 7, 15, 31 and 63 s, " +
		"so the last one makes an entry of its own."},
	TCPSynRecv:     {60, transitory + "The kernel's default."},
	TCPEstablished: {int(EstablishedFloor / time.Second), established},
	TCPFinWait:     {60, transitory + "A side that goes on sending after the other has closed must not be silent for longer."},
	TCPCloseWait:   {60, transitory + "A side that goes on sending after the other has closed must not be silent for longer."},
	TCPLastAck:     {30, transitory + "The kernel's default."},
	TCPTimeWait: {30, transitory + "A segment that comes after 30 s is dropped or makes a new entry, and the source port is free for another " +
		"connection to the same server sooner: a server that keeps 60 s of TIME_WAIT may answer its SYN late."},
	TCPClose:  {10, transitory + "The kernel's default."},
	UDP:       {30, "The kernel's default. RFC 4787 (REQ-5) asks for 2 min, but for well-known ports such as DNS, of flows that may be answered late."},
	UDPStream: {120, "RFC 4787 (REQ-5) allows no less than 2 min. Games, VPNs and calls that are silent for longer lose their mapping."},
	ICMP:      {30, "The kernel's default. RFC 5508 (REQ-2) asks for a minute."},
	ICMPv6:    {30, "The kernel's default."},
	GRE:       {30, "The kernel's default."},
	GREStream: {180, "The kernel's default. Tunnels that are silent for longer lose their entry."},
	Generic:   {120, "Protocols that the kernel does not know (ESP, OSPF, IPIP) must not be silent for longer: 120 s is more than their keepalives are apart."},
}

// Lasting is the least that a timeout should be for good, in seconds; 0 for one that is
// not worth shortening.
func Lasting(t Timeout) int { return lastings[t].seconds }

// worthFreeing is the share of the table that a shorter timeout has to free to be named.
const worthFreeing = 0.02

// timeouts are those that hold a good part of the table, and would hold less.
func (z *sizing) timeouts() []LastingTimeout {
	list := []LastingTimeout{}
	for t := range Timeouts {
		use, to := z.Classes[t], lastings[t].seconds
		now, _ := normalOf(z.Now, t)
		if to == 0 || now <= to || z.Table == 0 || float64(use.Least) < z.Config.ShortenTimeouts.Share*float64(z.Table) ||
			float64(use.Older) < worthFreeing*float64(z.Table) {
			continue
		}
		list = append(list, LastingTimeout{
			Key: "net.netfilter.nf_conntrack_" + t.String(), Now: now, To: to,
			Entries: use.Entries, Share: float64(use.Entries) / float64(z.Table),
			Frees: use.Older, AtPeak: z.scaled(use.Older), Reason: z.timeoutReason(t, now), Gain: z.timeoutGain(t), TradeOff: lastings[t].tradeOff,
		})
	}
	slices.SortStableFunc(list, func(a, b LastingTimeout) int { return cmp.Compare(b.Frees, a.Frees) })
	return list
}

// timeoutReason says what a class holds, and why. By Little's law a class holds as many
// entries as come to it in the time that they stay.
func (z *sizing) timeoutReason(t Timeout, now int) string {
	use := z.Classes[t]
	text := fmt.Sprintf("It holds %s of %s entries (%s)", Number(use.Entries), Number(z.Table), Percent(float64(use.Entries)/float64(z.Table)))
	if t.runsOut() {
		text += fmt.Sprintf(": %.0f connections a second that stay for %s each (Little's law)",
			float64(use.Entries)/float64(now), TimeoutText(now))
	}
	return text + "."
}

// timeoutGain says what would not be there.
func (z *sizing) timeoutGain(t Timeout) string {
	older := z.Classes[t].Older
	text := fmt.Sprintf("%s entries (%s of the table), which have been silent for %s or longer",
		Number(older), Percent(float64(older)/float64(z.Table)), TimeoutText(lastings[t].seconds))
	if at := z.scaled(older); at > older {
		text += fmt.Sprintf("; %s at the peak", Number(at))
	}
	return text + ". Those that exist keep the time they have."
}

// runsOut reports whether the entries of a class see no more packets, so that all of them
// stay for the whole timeout.
func (t Timeout) runsOut() bool { return t == TCPTimeWait || t == TCPClose }
