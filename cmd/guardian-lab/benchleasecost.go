package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// renewals is how often the leases of a round are renewed.
const renewals = 5

// A leaseCost is what one step took.
type leaseCost struct {
	Name string    `json:"name"`
	What string    `json:"what"`
	Wall float64   `json:"wall"` // seconds, median
	CPU  float64   `json:"cpu"`  // seconds, kernel and user, median
	Runs []stepRun `json:"runs"`
}

// A stepRun is what a step took once.
type stepRun struct {
	Wall float64 `json:"wall"` // seconds
	CPU  float64 `json:"cpu"`
}

// The steps' names.
const (
	theInstall = "install"
	theRenewal = "renew"
	theReading = "read"
	theFirst   = "end one"
	theRest    = "end"
)

func leaseCosts() []leaseCost {
	return []leaseCost{
		{Name: theInstall, What: "put all in force"},
		{Name: theRenewal, What: "renew all"},
		{Name: theReading, What: "read all"},
		{Name: theFirst, What: "end one"},
		{Name: theRest, What: "end the others"},
	}
}

// costs measures each step in each round.
func (b *leaseBench) costs(ctx context.Context, g *lab.Gateway) ([]leaseCost, error) {
	all := leaseCosts()
	for range b.rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := leaseSteps(g, leasesOf(b.sources), all); err != nil {
			return nil, err
		}
	}
	for i := range all {
		c := &all[i]
		c.Wall = median(figures(c.Runs, func(r stepRun) float64 { return r.Wall }))
		c.CPU = median(figures(c.Runs, func(r stepRun) float64 { return r.CPU }))
	}
	return all, nil
}

// leaseSteps is one life of leases, from none to none.
func leaseSteps(g *lab.Gateway, of []nft.Request, into []leaseCost) (err error) {
	l, err := openLeases(g)
	if err != nil {
		return err
	}
	defer l.Close() // ends them with the socket if a step failed
	hold := func() error {
		_, err := l.Hold(leaseTerms, leaseFor, of...)
		return err
	}
	if err := measureStep(into, theInstall, hold); err != nil {
		return err
	}
	for range renewals {
		if err := measureStep(into, theRenewal, hold); err != nil {
			return err
		}
	}
	if err := measureStep(into, theReading, func() error { return allHeld(l, len(of)) }); err != nil {
		return err
	}
	return endSteps(l, of, into)
}

// endSteps ends the first lease and then the others, with the last of which the table
// goes.
func endSteps(l *nft.Leases, of []nft.Request, into []leaseCost) error {
	if err := measureStep(into, theFirst, func() error { return l.End(of[0].Lease) }); err != nil {
		return err
	}
	if err := allHeld(l, len(of)-1); err != nil {
		return err
	}
	var others []nft.Lease
	for _, r := range of[1:] {
		others = append(others, r.Lease)
	}
	if err := measureStep(into, theRest, func() error { return l.End(others...) }); err != nil {
		return err
	}
	return allHeld(l, 0)
}

// allHeld is an error if there are not so many leases in force, with nearly all of
// their time left: what is measured must have been done.
func allHeld(l *nft.Leases, want int) error {
	held, err := l.Read()
	if err != nil {
		return err
	}
	if len(held) != want {
		return fmt.Errorf("%d leases are in force of %d", len(held), want)
	}
	for _, h := range held {
		if h.Left < leaseFor/2 || h.Left > leaseFor {
			return fmt.Errorf("%s has %s left of %s", h.Lease, h.Left, leaseFor)
		}
	}
	return nil
}

// measureStep runs a step of that name and notes what it took.
func measureStep(into []leaseCost, name string, step func() error) error {
	began, used := time.Now(), usedCPU()
	if err := step(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	run := stepRun{Wall: time.Since(began).Seconds(), CPU: (usedCPU() - used).Seconds()}
	i := slices.IndexFunc(into, func(c leaseCost) bool { return c.Name == name })
	into[i].Runs = append(into[i].Runs, run)
	return nil
}

// usedCPU is what this process has used, kernel and user.
func usedCPU() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		panic("guardian-lab: getrusage: " + err.Error()) // fails for no valid argument
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
