package main

import (
	"os"
	"slices"
	"testing"

	"github.com/google/nftables"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// counts reports whether our nft table is in the gateway.
func (s *site) counts() (there bool) {
	s.Helper()
	err := s.gateway.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		there = slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == nft.Name })
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return there
}

// New connections are counted in mode act, while there is trouble and no longer: not
// in calm, not after a stop, and not after a kill.
func TestRootCountsWhileInTrouble(t *testing.T) {
	s := newSite(t)
	text, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("guardian.toml", string(text)+"[census]\nevery = \"1s\"\n")
	d := s.start()
	if s.counts() {
		t.Error("the table is there in calm")
	}
	trouble := func() {
		s.fill(60000)
		s.until("new connections are counted", s.counts)
	}
	trouble()
	s.empty()
	s.until("the episode is over", func() bool { return d.count("ACTION=episode-closed") == 1 })
	s.until("the table is gone with it", func() bool { return !s.counts() })
	s.until("max is as before", func() bool { return s.max() == baseline })
	if n := d.count("ACTION=counting"); n != 1 {
		t.Errorf("journaled %d times that it counts", n)
	}
	if n := d.count("ACTION=not-counting"); n != 1 {
		t.Errorf("journaled %d times that it no longer counts", n)
	}

	trouble()
	d.stop()
	if s.counts() {
		t.Error("the table is there after the stop")
	}
	d = s.start()
	s.fill(60000) // the stop left the capacity
	s.until("new connections are counted again", s.counts)
	d.kill()
	s.until("the kernel has removed the table of the dead daemon", func() bool { return !s.counts() })
}
