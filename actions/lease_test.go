package actions

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

func TestLeaseEdits(t *testing.T) {
	six := limited("2001:db8:0:1::/64")
	six.Rate, six.Burst, six.For = 1_000_000, 1, 10*time.Minute
	long := bypassed()
	long.For = 90 * time.Second
	for _, x := range []struct {
		lease Lease
		want  ledger.Edit
	}{
		{limited("10.0.0.5/32"), edit("limit:10.0.0.5/32", "none", "50/s burst 100 lease 15s")},
		{inside(dropped("10.0.0.5/32")), edit("drop:10.0.0.5/32@/run/netns/tenant", "none", "all dropped lease 15s")},
		{six, edit("limit:2001:db8:0:1::/64", "none", "1000000/s burst 1 lease 10m")},
		{inside(long), edit("bypass:dns@/run/netns/tenant", "none", "untracked 1a2b3c4d lease 1m30s")},
	} {
		if got := LeaseEdit(x.lease); got != x.want {
			t.Errorf("the edit is %+v, want %+v", got, x.want)
		}
		if got, ok := ParseLease(x.want); !ok || got != x.lease {
			t.Errorf("%+v parses as %+v, %t", x.want, got, ok)
		}
	}
}

func TestParseLeaseRefuses(t *testing.T) {
	const limit, drop, bypass = "50/s burst 100 lease 15s", "all dropped lease 15s", "untracked 1a2b3c4d lease 15s"
	for _, e := range []ledger.Edit{
		{},
		edit("limit:10.0.0.5/32", "50/s burst 100 lease 15s", "none"), // would make one by an undo
		edit("limit:10.0.0.5/32", "", limit),
		edit("limit:10.0.0.5/32", "none", drop),
		edit("limit:10.0.0.5/32", "none", ""),
		edit("limit:10.0.0.5/32", "none", "none"),
		edit("limit:10.0.0.5", "none", limit),
		edit("limit:10.0.0.5/24", "none", limit),
		edit("limit:10.0.0.0/7", "none", limit),
		edit("limit:0.0.0.0/0", "none", limit),
		edit("limit:::/0", "none", limit),
		edit("limit:2001::/31", "none", limit),
		edit("limit:2001:DB8::/64", "none", limit),
		edit("limit:2001:db8:0::/64", "none", limit),
		edit("limit:fe80::%eth0/64", "none", limit),
		edit("limit:::ffff:10.0.0.5/128", "none", limit),
		edit("limit:010.0.0.5/32", "none", limit),
		edit("limit:10.0.0.5/032", "none", limit),
		edit("limit:dns", "none", limit),
		edit("limit:", "none", limit),
		edit("limit:10.0.0.5/32@", "none", limit),
		edit("limit10.0.0.5/32", "none", limit),
		edit("Limit:10.0.0.5/32", "none", limit),
		edit("timeout:10.0.0.5/32", "none", limit),
		edit(":10.0.0.5/32", "none", limit),
		edit("limit:10.0.0.5/32", "none", "050/s burst 100 lease 15s"),
		edit("limit:10.0.0.5/32", "none", "0/s burst 100 lease 15s"),
		edit("limit:10.0.0.5/32", "none", "50/s burst 0 lease 15s"),
		edit("limit:10.0.0.5/32", "none", "1000001/s burst 100 lease 15s"),
		edit("limit:10.0.0.5/32", "none", "50/s burst 1000001 lease 15s"),
		edit("limit:10.0.0.5/32", "none", limit+" "),
		edit("limit:10.0.0.5/32", "none", " "+limit),
		edit("limit:10.0.0.5/32", "none", "50/s burst 100 lease 15s\n"),
		edit("drop:10.0.0.5/32", "none", limit),
		edit("drop:10.0.0.5/32", "none", "all dropped lease 10m1s"),
		edit("drop:10.0.0.5/32", "none", "all dropped lease 999ms"),
		edit("drop:10.0.0.5/32", "none", "all dropped lease 1.0005s"),
		edit("drop:10.0.0.5/32", "none", "all dropped lease 60s"),
		edit("drop:10.0.0.5/32", "none", "all dropped lease 1m0s"),
		edit("drop:10.0.0.5/32", "none", "all dropped lease -15s"),
		edit("drop:10.0.0.5/32", "none", "all dropped lease 9999999h"),
		edit("bypass:10.0.0.5/32", "none", bypass),
		edit("bypass:", "none", bypass),
		edit("bypass:a b", "none", bypass),
		edit("bypass:"+strings.Repeat("a", 33), "none", bypass),
		edit("bypass:dns", "none", "untracked 1A2B3C4D lease 15s"),
		edit("bypass:dns", "none", "untracked 1a2b3c4 lease 15s"),
		edit("bypass:dns", "none", "untracked  lease 15s"),
	} {
		if l, ok := ParseLease(e); ok {
			t.Errorf("%+v parses as %+v", e, l)
		}
	}
}

// anyLease draws a lease within the bounds of all.
func anyLease(t *rapid.T) Lease {
	l := Lease{
		Kind:      rapid.SampledFrom([]nft.Kind{nft.Limit, nft.Drop, nft.Bypass}).Draw(t, "kind"),
		Namespace: rapid.SampledFrom([]string{"", elsewhere, "/proc/1/task/2/ns/net", "/run/netns/a@b:c"}).Draw(t, "namespace"),
		For:       time.Duration(rapid.IntRange(1000, 600_000).Draw(t, "ms")) * time.Millisecond,
	}
	if l.Kind == nft.Bypass {
		l.Flow = rapid.StringMatching(`[A-Za-z0-9_-]{1,32}`).Draw(t, "flow")
		l.Mark = rapid.StringMatching(`[0-9a-f]{8}`).Draw(t, "mark")
		return l
	}
	if l.Kind == nft.Limit {
		l.Rate, l.Burst = rapid.IntRange(1, maxRate).Draw(t, "rate"), rapid.IntRange(1, maxRate).Draw(t, "burst")
	}
	size, least := 4, minBits4
	if rapid.Bool().Draw(t, "IPv6") {
		size, least = 16, minBits6
	}
	b := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address")
	a, _ := netip.AddrFromSlice(b)
	l.Source, _ = a.Prefix(rapid.IntRange(least, size*8).Draw(t, "bits"))
	return l
}

func TestAnyLeaseIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLease(t)
		got, ok := ParseLease(LeaseEdit(l))
		if mapped := l.Source.IsValid() && l.Source.Addr().Is4In6(); ok == mapped {
			t.Fatalf("%+v: %t", l, ok)
		}
		if d := cmp.Diff(l, got, cmpopts.EquateComparable(netip.Prefix{})); ok && d != "" {
			t.Error(d)
		}
	})
}

func FuzzParseLease(f *testing.F) {
	for _, l := range []Lease{limited("10.0.0.5/32"), inside(limited("2001:db8::/64")), dropped("10.0.0.5/32"), bypassed()} {
		e := LeaseEdit(l)
		f.Add(e.Key, e.Before, e.After)
	}
	f.Fuzz(func(t *testing.T, key, before, after string) {
		e := edit(key, before, after)
		l, ok := ParseLease(e)
		if !ok {
			return
		}
		if LeaseEdit(l) != e {
			t.Errorf("%+v is read as %+v, which is written as %+v", e, l, LeaseEdit(l))
		}
		if l.For < minLease || l.For > maxLease || l.Kind != nft.Bypass && (l.Source.Bits() < minBits4 || l.Source.Masked() != l.Source) {
			t.Errorf("%+v is out of bounds", l)
		}
	})
}
