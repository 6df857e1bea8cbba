package main

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

const (
	benchSources      = 4096
	benchDestinations = 8000
	benchHog          = 10 // percent of the entries that one source has
)

// benchMix is what a busy gateway has, a tenth of it one client's. It is quiet: no
// entry expires while it is read, for a dump takes expired ones away.
func benchMix(size int) []lab.Entries {
	hog := benchPart(lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true})
	hog.Sources, hog.FirstSource = 1, 0
	established, timeWait, halfOpen := hog, hog, hog
	for _, e := range []*lab.Entries{&established, &timeWait, &halfOpen} {
		e.Sources, e.FirstSource = benchSources-1, 1
	}
	timeWait.State = lab.TimeWait
	halfOpen.State, halfOpen.Assured = lab.SynSent, false
	udp := established
	udp.Proto, udp.State, udp.Assured, udp.Replied = unix.IPPROTO_UDP, 0, false, true
	udp.Destinations, udp.Ports = benchDestinations/10, []uint16{53}

	percent := func(n int) int { return size * n / 100 }
	hog.Count, timeWait.Count = percent(benchHog), percent(20)
	udp.Count, halfOpen.Count = percent(15), percent(5)
	established.Count = size - hog.Count - timeWait.Count - udp.Count - halfOpen.Count
	return []lab.Entries{hog, established, timeWait, udp, halfOpen}
}

// benchPart is what the parts of the mix have in common.
func benchPart(e lab.Entries) lab.Entries {
	e.Timeout = 12 * time.Hour
	e.Destinations, e.Ports = benchDestinations, []uint16{443, 80}
	e.SNAT = lab.NATPool{First: natFirst, Addresses: 4}
	return e
}

// benchTruth is what every contender should find.
func benchTruth(size int) (benchAnswer, error) {
	truth := benchAnswer{Entries: size}
	hog := benchMix(size)[:1]
	err := lab.Each(func(e lab.Entry) {
		truth.Source = e.Orig.Src
		truth.Count++
	}, hog...)
	return truth, err
}

// A benchAnswer is what a contender found: how many entries it read, the source
// that has most of them, and how many those are; or how many it deleted.
type benchAnswer struct {
	Entries int        `json:"entries"`
	Bytes   int        `json:"bytes"` // of the dump; only the floor's answer
	Source  netip.Addr `json:"source"`
	Count   int        `json:"count"`
	Deleted int        `json:"deleted"`
}
