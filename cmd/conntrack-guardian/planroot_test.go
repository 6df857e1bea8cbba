package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// tables are the names of all nft tables in the gateway's namespace.
func (s *site) tables() (names []string) {
	s.Helper()
	err := s.gateway.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		all, err := c.ListTables()
		for _, t := range all {
			names = append(names, fmt.Sprint(t.Family, " ", t.Name))
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return names
}

// plan says who would be limited, at about which rate, and who never would be; and puts
// nothing into the kernel.
func TestRootPlanLimitsTheFlood(t *testing.T) {
	for name, allow := range map[string]bool{"limited": false, "allowed": true} {
		t.Run(name, func(t *testing.T) {
			f := lab.Flood{Pattern: lab.HalfOpen, Rate: 1500, Sources: 1}
			offender := f.Source(0).Addr()
			more := ""
			if allow {
				more = fmt.Sprintf("allow = [%q]", offender)
			}
			s := limiting(t, lab.Options{}, more)
			s.fill(35_000)
			fast := f
			fast.Rate, fast.Count = 20_000, 20_000
			if _, err := s.gateway.Flood(t.Context(), fast); err != nil {
				t.Fatal(err)
			}
			before := s.tables()
			flood := s.flood(f)
			code, stdout, stderr := s.command("plan", "--json", "--policy", s.path("guardian.toml"))
			flood.stop(t)
			var p struct {
				Census    string
				Allowed   []allowedSource
				Decisions []struct {
					Verb, Measure, Reason string
					Terms                 struct{ Source string }
				}
			}
			if err := json.Unmarshal([]byte(stdout), &p); code != program.Done || err != nil || stderr != "" {
				t.Fatalf("exit code %d, %v, %s%s", code, err, stderr, stdout)
			}
			said := p.Census + "\n"
			for _, d := range p.Decisions {
				said += fmt.Sprintf("%s %s %s %s\n", d.Verb, d.Measure, d.Terms.Source, d.Reason)
			}
			t.Log(said)
			if limited := strings.Contains(said, fmt.Sprintf("\ndo limit-source %s/32 ", offender)); limited == allow {
				t.Errorf("limited: %v", limited)
			}
			if spared := strings.Contains(said, "but is never limited: allowed by the policy"); spared != allow {
				t.Errorf("said that it never would be: %v", spared)
			}
			own := allowedSource{netip.PrefixFrom(lab.LAN, 32), "own address"}
			if !slices.Contains(p.Allowed, own) {
				t.Errorf("%v is not among %v", own, p.Allowed)
			}
			if after := s.tables(); !slices.Equal(before, after) || len(before) == 0 {
				t.Errorf("tables before %q, after %q", before, after)
			}
		})
	}
}
