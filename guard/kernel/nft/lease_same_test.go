package nft

import (
	"net/netip"
	"testing"
)

// A table is made for its terms: those that its rules have in them, and no others.
func TestSameTerms(t *testing.T) {
	base := func() Terms {
		return Terms{Rate: 10, Burst: 20, IPv4Bits: 32, IPv6Bits: 64, Flows: []Flow{{
			Name: "a", From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			To: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, Proto: 17, Ports: []Ports{{53, 53}},
		}}}
	}
	other := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/9")}
	for name, tc := range map[string]struct {
		change     func(*Terms)
		ip, ip6, i bool // the table of ip, of ip6 and of inet would be the same
	}{
		"nothing":   {func(*Terms) {}, true, true, true},
		"rate":      {func(t *Terms) { t.Rate++ }, false, false, true},
		"burst":     {func(t *Terms) { t.Burst++ }, false, false, true},
		"IPv4":      {func(t *Terms) { t.IPv4Bits = 24 }, false, true, false},
		"IPv6":      {func(t *Terms) { t.IPv6Bits = 128 }, true, false, false},
		"no flow":   {func(t *Terms) { t.Flows = nil }, true, true, false},
		"two flows": {func(t *Terms) { t.Flows = append(t.Flows, t.Flows[0]) }, true, true, false},
		"name":      {func(t *Terms) { t.Flows[0].Name = "b" }, true, true, false},
		"from":      {func(t *Terms) { t.Flows[0].From = other }, true, true, false},
		"to":        {func(t *Terms) { t.Flows[0].To = other }, true, true, false},
		"protocol":  {func(t *Terms) { t.Flows[0].Proto = 6 }, true, true, false},
		"ports":     {func(t *Terms) { t.Flows[0].Ports = []Ports{{53, 54}} }, true, true, false},
		"local":     {func(t *Terms) { t.Flows[0].Local = true }, true, true, false},
	} {
		terms := base()
		tc.change(&terms)
		for place, want := range map[leasePlace]bool{limits4: tc.ip, limits6: tc.ip6, raw: tc.i} {
			if got := (&leaseTable{leasePlace: place, terms: base()}).same(&terms); got != want {
				t.Errorf("another %s in table %s of family %d: the same is %v", name, place.name, place.proto, got)
			}
		}
	}
}
