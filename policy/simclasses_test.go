package policy

import "time"

// kernelTimeouts are those that Linux starts with.
var kernelTimeouts = [Timeouts]int{
	TCPSynSent: 120, TCPSynRecv: 60, TCPEstablished: 432000, TCPFinWait: 120, TCPCloseWait: 60, TCPLastAck: 30,
	TCPTimeWait: 120, TCPClose: 10, UDP: 30, UDPStream: 120, ICMP: 30, ICMPv6: 30, GRE: 30, GREStream: 180, Generic: 600,
}

// classes is what a simulated table holds by timeout: as many entries of each as come
// in the time that they stay.
type classes struct {
	share [Timeouts]float64 // of the entries there would be with the kernel's timeouts
	part  [Timeouts]float64 // of these that are there, by how long they stay now
	walks bool              // existing entries are dealt with, too
	walk  time.Duration     // when the newest change's walk ends
}

// walkTakes is how long a walk takes.
const walkTakes = time.Second

func newClasses() classes {
	c := classes{walks: true}
	for t := range c.part {
		c.part[t] = 1
	}
	return c
}

// live moves the clock: entries of a shortened timeout go at once when they are walked
// over, and when their old time is over otherwise; those of a longer one gather.
func (c *classes) live(m *sim, d time.Duration) {
	n := len(m.changes)
	walked := false
	if n > 0 && m.changes[n-1].Measure == ShortenTimeouts && m.changes[n-1].State == Applied && c.walks && m.now >= c.walk {
		walked = true
		if w := &m.changes[n-1].Walk; !w.Done {
			*w = Walk{Done: true, Deleted: m.s.Count / 2, Retimed: m.s.Count / 10}
		}
	}
	for t := range Timeouts {
		if kernelTimeouts[t] == 0 {
			continue
		}
		target := float64(m.s.Timeouts[t]) / float64(kernelTimeouts[t])
		step := d.Seconds() / float64(kernelTimeouts[t])
		switch {
		case c.part[t] > target && walked:
			c.part[t] = target
		case c.part[t] > target:
			c.part[t] = max(c.part[t]-step, target)
		default:
			c.part[t] = min(c.part[t]+step, target)
		}
	}
}

// held is how many of the entries wanted there are.
func (c *classes) held(want int) int {
	gone := 0.0
	for t := range Timeouts {
		gone += c.share[t] * (1 - c.part[t])
	}
	return int(float64(want) * (1 - gone))
}

// refused is how many of those over the limit come in that time.
func (c *classes) refused(over int, d time.Duration) int {
	if c.share == ([Timeouts]float64{}) || over <= 0 {
		return 0
	}
	return int(float64(over) * d.Seconds() / 10)
}

// show fills in what a census finds.
func (c *classes) show(k *Census) {
	all := float64(c.held(1_000_000)) / 1_000_000
	for t := range Timeouts {
		if c.share[t] == 0 {
			continue
		}
		share := c.share[t] * c.part[t] / all
		k.Classes[t] = sampled(share)
		switch t {
		case TCPFinWait, TCPCloseWait, TCPLastAck, TCPTimeWait, TCPClose:
			k.Closing = sampled(k.Closing.Share + share)
		}
	}
}

func (c *classes) write(m *sim, ch *Change, edits []TimeoutChange) bool {
	for _, e := range edits {
		t, ok := TimeoutNamed(e.Name)
		if !ok || m.s.Timeouts[t] != e.From || e.To >= e.From || e.To < int(m.cfg.ShortenTimeouts.Floors[t].Floor/time.Second) {
			return false
		}
	}
	for _, e := range edits {
		t, _ := TimeoutNamed(e.Name)
		m.s.Timeouts[t], ch.Timeouts[t] = e.To, TimeoutEdit{e.From, e.To}
	}
	c.walk = m.now + walkTakes
	return true
}

func (c *classes) restore(m *sim, ch *Change) {
	for t, e := range ch.Timeouts {
		if e.After != 0 && m.s.Timeouts[t] != e.After {
			panic("undo of a timeout that is not ours")
		}
		if e.After != 0 {
			m.s.Timeouts[t] = e.Before
		}
	}
}

// losesOnly takes what somebody else has from a change, and reports whether it has
// anything left.
func (c *Change) losesOnly(found []TimeoutChange) bool {
	for _, e := range found {
		t, _ := TimeoutNamed(e.Name)
		if c.Timeouts[t] != (TimeoutEdit{}) {
			c.Timeouts[t], c.Lost[t] = TimeoutEdit{}, true
		}
	}
	return c.Measure == ShortenTimeouts && c.Timeouts != [Timeouts]TimeoutEdit{}
}
