package nft

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestPrefixBounds(t *testing.T) {
	for _, tc := range []struct{ prefixes, want string }{
		{"10.0.0.0/8", "0a000000 !0b000000"},
		{"192.0.2.1/32", "c0000201 !c0000202"},
		{"10.1.0.0/16 10.0.0.0/8 10.0.0.0/16 10.0.0.0/8", "0a000000 !0b000000"},
		{"192.0.2.2/31 192.0.2.0/31", "c0000200 !c0000202 c0000202 !c0000204"},
		{"255.255.255.0/24", "ffffff00"},
		{"255.255.255.255/32 128.0.0.0/1", "80000000"},
		{"0.0.0.0/0 10.0.0.0/8", ""},
		{"", ""},
		{"2001:db8::/127", "20010db8000000000000000000000000 !20010db8000000000000000000000002"},
		{"ff00::/8", "ff000000000000000000000000000000"},
	} {
		var all []netip.Prefix
		for _, p := range strings.Fields(tc.prefixes) {
			all = append(all, netip.MustParsePrefix(p))
		}
		if got := boundText(prefixBounds(all)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.prefixes, got, tc.want)
		}
	}
}

func TestPortBounds(t *testing.T) {
	for _, tc := range []struct {
		ports []Ports
		want  string
	}{
		{[]Ports{{53, 53}}, "0035 !0036"},
		{[]Ports{{8000, 8100}, {53, 53}}, "0035 !0036 1f40 !1fa5"},
		{[]Ports{{1, 5}, {6, 9}, {2, 3}}, "0001 !000a"},
		{[]Ports{{65535, 65535}}, "ffff"},
		{[]Ports{{0, 65535}, {65535, 65535}}, "0000"},
		{nil, ""},
	} {
		if got := boundText(portBounds(tc.ports)); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.ports, got, tc.want)
		}
	}
}

// boundText has a ! before an end.
func boundText(bounds []bound) string {
	var words []string
	for _, b := range bounds {
		word := hex.EncodeToString(b.at)
		if b.end {
			word = "!" + word
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestHoldRefuses(t *testing.T) {
	p := netip.MustParsePrefix
	good := Flow{Name: "f", From: []netip.Prefix{p("10.0.0.0/8")}, To: []netip.Prefix{p("192.0.2.1/32")}, Proto: unix.IPPROTO_UDP}
	with := func(change func(*Flow)) Terms {
		f, terms := good, someTerms()
		change(&f)
		terms.Flows = []Flow{f}
		return terms
	}
	fine := with(func(*Flow) {})
	if err := checkHold(&fine, time.Second, []Request{limit("10.0.0.1/32"), drop("2001:db8::/64"), bypass("f")}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Request{
		"no kind":            {Lease{Source: p("10.0.0.1/32")}, "text"},
		"no source":          {Lease{Kind: Limit}, "text"},
		"another prefix":     drop("10.0.0.0/24"),
		"another of IPv6":    drop("2001:db8::/128"),
		"not masked":         {Lease{Kind: Drop, Source: p("2001:db8::1/64")}, "text"},
		"mapped":             {Lease{Kind: Drop, Source: netip.PrefixFrom(netip.MustParseAddr("::ffff:0.0.0.0"), 64)}, "text"},
		"unknown flow":       bypass("g"),
		"no text":            {Lease{Kind: Bypass, Flow: "f"}, ""},
		"text of two lines":  {Lease{Kind: Bypass, Flow: "f"}, "a\nb"},
		"text with an end":   {Lease{Kind: Bypass, Flow: "f"}, "a\x00b"},
		"text that is long":  {Lease{Kind: Bypass, Flow: "f"}, strings.Repeat("a", maxText+1)},
		"text without ASCII": {Lease{Kind: Bypass, Flow: "f"}, "ä"},
	} {
		if err := checkHold(&fine, time.Minute, []Request{r}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, terms := range map[string]Terms{
		"no name":        with(func(f *Flow) { f.Name = "" }),
		"name with /":    with(func(f *Flow) { f.Name = "a/b" }),
		"long name":      with(func(f *Flow) { f.Name = strings.Repeat("f", maxName+1) }),
		"from nobody":    with(func(f *Flow) { f.From = nil }),
		"to nobody":      with(func(f *Flow) { f.To = nil }),
		"local to other": with(func(f *Flow) { f.Local = true }),
		"no prefix":      with(func(f *Flow) { f.To = []netip.Prefix{{}} }),
		"not masked":     with(func(f *Flow) { f.To = []netip.Prefix{p("192.0.2.1/24")} }),
		"no protocol":    with(func(f *Flow) { f.Proto = 0 }),
		"empty range":    with(func(f *Flow) { f.Ports = []Ports{{2, 1}} }),
		"name twice":     {IPv4Bits: 32, IPv6Bits: 64, Flows: []Flow{good, good}},
		"too many flows": {IPv4Bits: 32, IPv6Bits: 64, Flows: make([]Flow, maxFlows+1)},
		"no bits":        {IPv6Bits: 64},
		"many bits":      {IPv4Bits: 33, IPv6Bits: 64},
	} {
		if err := checkHold(&terms, time.Minute, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	noRate, noBurst := fine, fine
	noRate.Rate, noBurst.Burst = 0, 0
	for _, terms := range []Terms{noRate, noBurst} {
		if err := checkHold(&terms, time.Minute, []Request{limit("10.0.0.1/32")}); err == nil {
			t.Errorf("rate %d, burst %d: no error", terms.Rate, terms.Burst)
		}
		if err := checkHold(&terms, time.Minute, []Request{drop("10.0.0.1/32")}); err != nil {
			t.Errorf("a drop without a rate: %v", err)
		}
	}
	if err := checkHold(&fine, time.Second-1, nil); err == nil {
		t.Error("a lease of less than a second: no error")
	}
}

// What is encoded is parsed again.
func TestLeaseElement(t *testing.T) {
	r := limit("192.0.2.1/32")
	var list []byte
	list = appendElement(list, []byte{192, 0, 2, 1}, 15*time.Second, r.comment())
	list = appendElement(list, flowKey(7), time.Hour, "dns untracked lease 15s")
	got := map[string]leaseElement{}
	if err := leaseElements(list, got); err != nil {
		t.Fatal(err)
	}
	want := map[string]leaseElement{
		"\xc0\x00\x02\x01": {timeout: 15 * time.Second, comment: "192.0.2.1/32 limited by a test"},
		string(flowKey(7)): {timeout: time.Hour, comment: "dns untracked lease 15s"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(leaseElement{})); diff != "" {
		t.Error(diff)
	}
	for size := 1; size < len(list); size++ {
		if size == len(appendElement(nil, []byte{192, 0, 2, 1}, time.Second, r.comment())) {
			continue // one whole element
		}
		if err := leaseElements(list[:size:size], map[string]leaseElement{}); err == nil {
			t.Errorf("cut to %d of %d bytes: no error", size, len(list))
		}
	}
}

// Whatever time is meant, no element that is added is there for ever.
func TestLeaseElementEnds(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{
		1: leastLease, time.Microsecond: leastLease, time.Millisecond: leastLease, leastLease - 1: leastLease,
		leastLease: leastLease, 15 * time.Second: 15 * time.Second,
	} {
		got := map[string]leaseElement{}
		if err := leaseElements(appendElement(nil, flowKey(1), lease, "a"), got); err != nil || got[string(flowKey(1))].timeout != want {
			t.Errorf("%s: %+v, %v, want a timeout of %s", lease, got, err, want)
		}
	}
}

// A comment that is not ours is told as it is.
func TestLeaseOfComment(t *testing.T) {
	p := netip.MustParsePrefix
	v4, v6 := []byte{192, 0, 2, 1}, netip.MustParseAddr("2001:db8::").AsSlice()
	for _, tc := range []struct {
		set     *leaseSet
		key     []byte
		comment string
		lease   Lease
		text    string
	}{
		{&limited4, v4, "192.0.2.1/32 50/s", Lease{Kind: Limit, Source: p("192.0.2.1/32")}, "50/s"},
		{&dropped6, v6, "2001:db8::/48 all dropped", Lease{Kind: Drop, Source: p("2001:db8::/48")}, "all dropped"},
		{&dropped6, v6, "2001:db8::1/48 all", Lease{Kind: Drop, Source: p("2001:db8::/128")}, "2001:db8::1/48 all"},
		{&limited4, v4, "192.0.2.2/32 50/s", Lease{Kind: Limit, Source: p("192.0.2.1/32")}, "192.0.2.2/32 50/s"},
		{&limited4, v4, "192.0.2.1/31 50/s", Lease{Kind: Limit, Source: p("192.0.2.1/32")}, "192.0.2.1/31 50/s"},
		{&limited4, v4, "somebody's", Lease{Kind: Limit, Source: p("192.0.2.1/32")}, "somebody's"},
		{&limited4, v4, "", Lease{Kind: Limit, Source: p("192.0.2.1/32")}, ""},
		{&armed, flowKey(1), "dns untracked", Lease{Kind: Bypass, Flow: "dns"}, "untracked"},
		{&armed, flowKey(1), "dns", Lease{Kind: Bypass}, "dns"},
		{&armed, flowKey(1), "d!s untracked", Lease{Kind: Bypass}, "d!s untracked"},
	} {
		if l, text := tc.set.lease(tc.key, tc.comment); l != tc.lease || text != tc.text {
			t.Errorf("%q: %s, %q, want %s, %q", tc.comment, l, text, tc.lease, tc.text)
		}
	}
}

func TestLeaseNames(t *testing.T) {
	for want, l := range map[string]Lease{
		"limit 10.0.0.1/32": limit("10.0.0.1/32").Lease,
		"drop ::/64":        drop("::/64").Lease,
		"bypass dns":        bypass("dns").Lease,
	} {
		if got := l.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if Kind(9).String() != "kind 9" || (Lease{Kind: 9}).set() != nil || (Lease{Kind: Limit}).set() != nil {
		t.Error("a kind that there is not")
	}
}

func FuzzLeaseElements(f *testing.F) {
	f.Add(appendElement(nil, []byte{192, 0, 2, 1}, time.Second, limit("192.0.2.1/32").comment()))
	f.Add(appendElement(nil, flowKey(1), time.Second, bypass("dns").comment()))
	f.Add(element([]byte{192, 0, 2, 1}, 7))
	f.Add([]byte{4, 0, 1, 0})
	f.Fuzz(func(t *testing.T, list []byte) {
		all := map[string]leaseElement{}
		_ = leaseElements(list, all)
		for _, s := range leaseSets {
			for _, h := range s.held(all) {
				if h.Left < 0 || h.Timeout < 0 || h.Kind != s.kind {
					t.Errorf("%+v", h)
				}
				if len(h.key) == int(s.key.Bytes) && s.kind != Bypass && !h.Source.IsValid() {
					t.Errorf("%+v has no source", h)
				}
			}
		}
	})
}
