package census

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestPolicy(t *testing.T) {
	nat, dst := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("198.51.100.1")
	figure := func(n int) Figure { return Figure{Entries: n, Low: n - 10, High: n + 10, Share: float64(n) / 1000} }
	r := Report{
		At: time.Minute, Read: 100, Table: 1000,
		Closing: figure(100), DeadUDP: figure(200), Opening: figure(300), Idle: figure(400),
		Pools: []Pool{
			{NAT: nat, Dst: dst, Port: 443, Proto: "tcp", Lowest: 1024, Highest: 2000, Figure: figure(500)},
			{NAT: dst, Figure: figure(20)},
		},
		Classes: []Class{{Name: "tcp_timeout_time_wait", Figure: figure(300)}, {Name: "dccp_timeout", Figure: figure(9)}},
	}
	for i := range 70 {
		r.Sources = append(r.Sources, Source{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32), figure(190 - i)})
	}
	want := policy.Census{
		At: time.Minute, Read: 100, Table: 1000,
		Closing: policy.Share{Share: .1, Low: .09, High: .11},
		DeadUDP: policy.Share{Share: .2, Low: .19, High: .21},
		Opening: policy.Share{Share: .3, Low: .29, High: .31},
		Idle:    policy.Share{Share: .4, Low: .39, High: .41},
		Pool:    policy.Pool{NAT: nat, Dst: dst, Port: 443, Proto: "tcp", Used: 500, Lowest: 1024, Highest: 2000},
	}
	unseen := scale{100, 1000}.figure(0, 0)
	for c := range want.Classes {
		want.Classes[c] = policy.Share{High: float64(unseen.High) / 1000}
	}
	want.Classes[policy.TCPTimeWait] = want.Opening
	for i := range want.Sources {
		n := float64(190 - i)
		want.Sources[i] = policy.Holder{
			Prefix: r.Sources[i].Prefix,
			Share:  policy.Share{Share: n / 1000, Low: (n - 10) / 1000, High: (n + 10) / 1000},
		}
	}
	if diff := cmp.Diff(want, r.Policy(), addresses); diff != "" {
		t.Error(diff)
	}
}

// A policy knows each of its timeouts by the name of the class.
func TestPolicyKnowsTheClasses(t *testing.T) {
	for c := range policy.Timeouts {
		if _, ok := timeout.ByName(c.String()); !ok {
			t.Errorf("%s is no class", c)
		}
	}
}

func TestPolicyOfAnEmptyTable(t *testing.T) {
	r := count(nil, defaults())
	if got := r.Policy(); got != (policy.Census{}) {
		t.Errorf("%+v", got)
	}
}

// sources is a report of what sources hold.
func sources(at time.Duration, n ...int) *Report {
	r := &Report{At: at}
	for i, n := range n {
		r.Sources = append(r.Sources, Source{one(i), Figure{Entries: n, Low: n, High: n}})
	}
	return r
}

// one is the i-th source.
func one(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
}

func TestGrown(t *testing.T) {
	before, after := sources(time.Minute, 100, 90, 80), sources(70*time.Second, 100, 200, 60, 50)
	want := []Growth{{one(1), 11, 11}, {one(3), 5, 5}, {one(0), 0, 0}, {one(2), -2, 0}}
	if diff := cmp.Diff(want, Grown(before, after), addresses); diff != "" {
		t.Error(diff)
	}
}

// What is certain is from the most before to the least after: of a source that holds
// what it held there is nothing, however two samples differ.
func TestGrownForCertain(t *testing.T) {
	report := func(at time.Duration, read, table int, held ...int) *Report {
		r := &Report{At: at, Read: read, Table: table, Sources: []Source{}}
		for i, n := range held {
			r.Sources = append(r.Sources, Source{one(i), scale{read, table}.listed(n*read/table, 0)})
		}
		return r
	}
	const read = 20_000
	before := report(time.Minute, read, 200_000, 40_000, 40_000, 40_000)
	// The first one holds 40,000 of 250,000 yet: a sample shows 16.7 % in place of 16 %.
	after := report(65*time.Second, read, 250_000, 41_750, 80_000, 20_000)
	of := map[netip.Prefix]Growth{}
	for _, g := range Grown(before, after) {
		of[g.Prefix] = g
	}
	if g := of[one(0)]; g.Rate != 350 || g.Low != 0 {
		t.Errorf("who stands still grows by %v, and %v for certain", g.Rate, g.Low)
	}
	if g := of[one(1)]; g.Rate != 8000 || g.Low < 6500 || g.Low > 7500 {
		t.Errorf("who grows by 8000 does by %v, and %v for certain", g.Rate, g.Low)
	}
	if g := of[one(2)]; g.Rate != -4000 || g.Low != 0 {
		t.Errorf("who shrinks grows by %v, and %v for certain", g.Rate, g.Low)
	}
}

// Where the list is full, a source that is not in it may hold as much as its last.
func TestGrownOutOfAFullList(t *testing.T) {
	before := sources(0)
	for i := range rows {
		before.Sources = append(before.Sources, Source{one(1000 + i), Figure{Entries: 300 - i, High: 400 - i}})
	}
	want := []Growth{{one(0), float64(500-(300-rows+1)) / 10, float64(500-(400-rows+1)) / 10}}
	if diff := cmp.Diff(want, Grown(before, sources(10*time.Second, 500)), addresses); diff != "" {
		t.Error(diff)
	}
}

func TestGrownRefusesWhatCannotBeCompared(t *testing.T) {
	good := func() (*Report, *Report) { return sources(time.Second, 1), sources(2*time.Second, 2) }
	if a, b := good(); len(Grown(a, b)) != 1 {
		t.Fatal("this shows nothing")
	}
	for name, spoil := range map[string]func(a, b *Report){
		"no time between":     func(a, b *Report) { a.At = b.At },
		"the wrong way round": func(a, b *Report) { a.At, b.At = b.At, a.At },
		"another depth":       func(a, _ *Report) { a.Full = true },
		"another drill-down":  func(_, b *Report) { b.Source = "10.0.0.0/8" },
		"other networks":      func(_, b *Report) { b.IPv4Bits = 24 },
		"other IPv6 networks": func(_, b *Report) { b.IPv6Bits = 56 },
	} {
		a, b := good()
		spoil(a, b)
		if got := Grown(a, b); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
