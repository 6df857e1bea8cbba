package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// weekOf is a baseline of a week whose hours have these peaks, in turn, and one hour of
// each outlier at the end.
func weekOf(rate float32, highs []int32, outliers ...int32) *Baseline {
	b := new(Baseline)
	for i := range week - len(outliers) {
		high := highs[i%len(highs)]
		b.add(Hour{Low: high / 2, High: high, Rate: rate})
	}
	for _, high := range outliers {
		b.add(Hour{Low: high / 2, High: high, Rate: 50 * rate})
	}
	return b
}

// sized is an input of a gateway with the kernel's defaults and 4 GiB.
func sized(b *Baseline) *SizingInput {
	c := Default()
	s := &Snapshot{Count: 50_000, Max: 262144, Buckets: 262144, MemAvailable: 4 << 30}
	s.Timeouts[TCPTimeWait], s.Timeouts[TCPEstablished], s.Timeouts[UDP] = 120, 432000, 30
	return &SizingInput{Baseline: b, Now: s, Config: &c, Headroom: 2}
}

func size(t *testing.T, in *SizingInput) Sizing {
	t.Helper()
	z, err := Size(in)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// One hour in a hundred does not count, and its neighbours do.
func TestPeakIsThatOf99Of100Hours(t *testing.T) {
	for name, tc := range map[string]struct {
		b                    *Baseline
		peak, highest, usual int
	}{
		"one outlier in a week":  {weekOf(10, []int32{1000, 3000}, 90_000), 3000, 90_000, 1000},
		"two outliers in a week": {weekOf(10, []int32{1000, 3000}, 80_000, 90_000), 80_000, 90_000, 3000},
		"two days":               {new(Baseline), 7000, 7000, 1000},
	} {
		if tc.b.n == 0 {
			for range 47 {
				tc.b.add(Hour{High: 1000})
			}
			tc.b.add(Hour{High: 7000})
		}
		got := size(t, sized(tc.b)).Seen
		if got.Peak != tc.peak || got.Highest != tc.highest || got.Usual != tc.usual {
			t.Errorf("%s: %+v, want %d, %d, %d", name, got, tc.peak, tc.highest, tc.usual)
		}
	}
}

func TestTooLittleIsNotSized(t *testing.T) {
	b := new(Baseline)
	for range 59 {
		b.learn(5000, 1, time.Minute)
	}
	if _, err := Size(sized(b)); !errors.Is(err, ErrTooLittle) || !strings.Contains(err.Error(), "59m of readings") {
		t.Errorf("59 minutes: %v", err)
	}
	b.learn(9000, 1, time.Minute) // completes the hour
	z := size(t, sized(b))
	if !z.Seen.Provisional || z.Seen.Peak != 9000 || !strings.HasPrefix(z.Notes[0], "Less than a day") {
		t.Errorf("an hour: %+v, %q", z.Seen, z.Notes)
	}
	for range 23 {
		b.add(Hour{High: 5000})
	}
	if z := size(t, sized(b)); z.Seen.Provisional || !strings.HasPrefix(z.Notes[0], "Less than a week was seen (24 hours)") {
		t.Errorf("a day: %+v, %q", z.Seen, z.Notes)
	}
	if z := size(t, sized(weekOf(1, []int32{5000}))); len(z.Notes) != 0 {
		t.Errorf("a week: %q", z.Notes)
	}
}

func TestSizesOfTheTable(t *testing.T) {
	for name, tc := range map[string]struct {
		change       func(*SizingInput)
		peak         int32
		max, buckets int
		says         string // in the reason of max
	}{
		"what there is suffices": {nil, 100_000, 262144, 262144, "twice that is 200,000. What there is suffices."},
		"more":                   {nil, 300_000, 606208, 303104, "twice that is 600,000."},
		"a quarter of max is more than the peak": {
			func(in *SizingInput) { in.Headroom, in.Now.Buckets = 6, 8192 },
			100_000, 606208, 155648, "6 times that is 600,000.",
		},
		"a round peak": {nil, 1 << 20, 1 << 21, 1 << 20, ""},
		"the guardian's raises are not for good": {
			func(in *SizingInput) {
				in.Now.Max, in.Now.Buckets = 1<<20, 1<<19
				in.Now.Changes = []Change{
					{ID: 1, Measure: RaiseMax, State: Applied, Before: 65536, After: 131072},
					{ID: 2, Measure: RaiseMax, State: Applied, Before: 131072, After: 1 << 20},
					{ID: 3, Measure: GrowBuckets, State: Applied, Before: 65536, After: 1 << 19},
					{ID: 4, Measure: RaiseMax, State: Undone, Before: 1, After: 2},
				}
			},
			100_000, 204800, 106496, "",
		},
		"memory bounds it": {
			func(in *SizingInput) { in.Now.MemAvailable = 512 << 20 }, // a quarter of it, and of what is held
			300_000, 360448, 303104, "25 % with 512 MiB available, allows 360,448: 1.2 times the peak.",
		},
		"memory is less than the peak": {
			func(in *SizingInput) { in.Now.MemAvailable, in.Now.Max = 128<<20, 65536 },
			300_000, 98304, 262144, "less than the peak itself",
		},
		"memory is less than there is": {
			func(in *SizingInput) { in.Now.MemAvailable = 128 << 20 },
			300_000, 262144, 262144, "less than the peak itself",
		},
		"memory not known": {func(in *SizingInput) { in.Now.MemAvailable = 0 }, 300_000, 606208, 303104, ""},
		"entries of another size": {
			func(in *SizingInput) { in.Now.MemAvailable, in.EntryBytes = 512<<20, 768 },
			300_000, 262144, 262144, "",
		},
		"no limit": {func(in *SizingInput) { in.Now.Max = 0 }, 3000, 8192, 262144, "keeps no limit"},
		"no limit, and memory for less than the peak": {
			func(in *SizingInput) { in.Now.MemAvailable, in.Now.Max = 128<<20, 0 }, 300_000, 303104, 303104, "a lower one would refuse what is carried",
		},
		"no limit, and once there were more": {
			func(in *SizingInput) { in.Now.Max, in.Record.Highest = 0, 900_000 }, 300_000, 901120, 303104, "as many as 900,000",
		},
		"several tables": {func(in *SizingInput) { in.Config.Memory.Tables = 3 }, 300_000, 606208, 901120, ""},
		"hardly any":     {func(in *SizingInput) { in.Now.Max, in.Now.Buckets = 0, 1024 }, 0, 8192, 8192, ""},
		"kernel's end":   {func(in *SizingInput) { in.Now.MemAvailable = 1 << 50 }, 2_000_000_000, 2147475456, 2000003072, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := sized(weekOf(10, []int32{tc.peak}))
			if tc.change != nil {
				tc.change(in)
			}
			z := size(t, in)
			if z.Max.To != tc.max || z.Buckets.To != tc.buckets {
				t.Errorf("max %d, buckets %d, want %d, %d", z.Max.To, z.Buckets.To, tc.max, tc.buckets)
			}
			if !strings.Contains(z.Max.Reason, tc.says) {
				t.Errorf("%q does not say %q", z.Max.Reason, tc.says)
			}
		})
	}
}

// Whatever was seen, the sizes keep what they promise.
func TestSizesKeepTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := new(Baseline)
		for range rapid.IntRange(1, 200).Draw(t, "hours") {
			high := rapid.Int32Range(0, 5_000_000).Draw(t, "high")
			b.add(Hour{Low: high / 3, High: high, Rate: rapid.Float32Range(0, 100_000).Draw(t, "rate")})
		}
		in := sized(b)
		in.Headroom = rapid.Float64Range(1, 20).Draw(t, "headroom")
		in.Now.Max, in.Now.Buckets = rapid.IntRange(0, maxLimit).Draw(t, "max"), rapid.IntRange(0, 1<<24).Draw(t, "buckets")
		in.Now.MemAvailable = rapid.Int64Range(0, 1<<45).Draw(t, "memory")
		z, err := Size(in)
		if err != nil {
			t.Fatal(err)
		}
		switch peak := z.Seen.Peak; {
		case in.Now.Max == 0 && z.Max.To < min(z.Seen.Highest, maxLimit/sizeUnit*sizeUnit):
			t.Errorf("%+v would refuse what is carried: %+v", z.Max, z.Seen)
		case z.Max.To < in.Now.Max || z.Buckets.To < in.Now.Buckets:
			t.Errorf("it takes away: %+v %+v", z.Max, z.Buckets)
		case z.Max.To <= 0 || z.Max.To > maxLimit || z.Buckets.To%sizeUnit != 0 && z.Buckets.To != in.Now.Buckets:
			t.Errorf("no sizes: %d, %d", z.Max.To, z.Buckets.To)
		case chain(min(peak, z.Max.To), z.Buckets.To) > 2 || z.Buckets.To < z.Max.To/4:
			t.Errorf("%d buckets for %d of %d", z.Buckets.To, peak, z.Max.To)
		case float64(z.Max.To) < in.Headroom*float64(peak) && z.Max.To > max(affordable(in.Now, in.Config), sizeUnit, in.Now.Max) &&
			(in.Now.Max > 0 || z.Max.To > roundUp(z.Seen.Highest)):
			t.Errorf("%d for %d, beyond the budget", z.Max.To, peak)
		case float64(z.Max.To) < in.Headroom*float64(peak) && !strings.Contains(z.Max.Reason, "memory budget"):
			t.Errorf("%d for %d without a word: %s", z.Max.To, peak, z.Max.Reason)
		}
		warn, crit := z.Alerts[0], z.Alerts[1]
		if !(0.5 <= warn.Utilization && warn.Utilization < crit.Utilization && crit.Utilization <= 0.95) || warn.Entries >= crit.Entries {
			t.Errorf("alerts at %v and %v", warn, crit)
		}
	})
}

func TestAlerts(t *testing.T) {
	for name, tc := range map[string]struct {
		peak       int32
		rate       float32
		warn, crit float64
		says       string
	}{
		"slow":        {131072, 10, 0.75, 0.95, "it is full 21m51s later"},
		"fast":        {131072, 900, 0.75, 0.80, "it is full 58s later"},
		"a minute":    {131072, 500, 0.75, 0.88, "it is full 1m3s later"},
		"hardly used": {1000, 0, 0.50, 0.95, "not been seen filling"},
		"small":       {262144, 10, 0.75, 0.95, "full 43m41s later"},
	} {
		z := size(t, sized(weekOf(tc.rate, []int32{tc.peak})))
		if z.Alerts[0].Utilization != tc.warn || z.Alerts[1].Utilization != tc.crit || !strings.Contains(z.Alerts[1].Reason, tc.says) {
			t.Errorf("%s: %+v, want %v and %v: %s", name, z.Alerts, tc.warn, tc.crit, tc.says)
		}
		if got := float64(z.Alerts[0].Entries); got > tc.warn*float64(z.Max.To) || got < tc.warn*float64(z.Max.To)-1 {
			t.Errorf("%s: %v entries of %d", name, got, z.Max.To)
		}
	}
}

// What a record shows of a full table is said, since the peaks hide it.
func TestRefusedIsSaid(t *testing.T) {
	var p Peaks
	at := func(second, count int, c Counters) {
		p.Add(&Snapshot{Count: count, Max: 1000, Losses: c}, time.Duration(second)*time.Second)
	}
	at(1, 500, Counters{Drop: 50})                                // no memory
	at(2, 996, Counters{Drop: 5})                                 // full in between
	at(3, 1000, Counters{Drop: 7, InsertFailed: 3, EarlyDrop: 2}) // 4 of them full
	at(4, 1000, Counters{InsertFailed: 9, Drop: 9, Found: 900})   // ports
	at(5, 200, Counters{Drop: 1})                                 // just before
	at(6, 1000, Counters{})
	at(60, 1000, Counters{}) // nobody has looked meanwhile
	want := Peaks{Readings: 7, Highest: 1000, Full: 2 * time.Second, Refused: 5 + 6 + 1, last: time.Minute, fill: 1}
	if p != want {
		t.Errorf("%+v, want %+v", p, want)
	}
	in := sized(weekOf(10, []int32{900}))
	in.Record = p
	z := size(t, in)
	if z.Seen.Highest != 1000 || len(z.Notes) != 1 || !strings.Contains(z.Notes[0], "full for 2s, and 12 packets") {
		t.Errorf("%+v, %q", z.Seen, z.Notes)
	}
}

// Hours that stand out are named with what would do without them.
func TestOutstandingHours(t *testing.T) {
	z := size(t, sized(weekOf(10, []int32{20_000, 30_000}, 400_000, 500_000, 400_000)))
	if z.Max.To != 802816 || len(z.Notes) != 1 || !strings.HasPrefix(z.Notes[0], "3 of the hours stand out, with more than 4 times") ||
		!strings.Contains(z.Notes[0], "under 30,000 entries, for which 65,536 would do") {
		t.Errorf("%d, %q", z.Max.To, z.Notes)
	}
	// One alone is beyond the percentile already.
	if z := size(t, sized(weekOf(10, []int32{20_000, 30_000}, 400_000))); len(z.Notes) != 0 {
		t.Errorf("%q", z.Notes)
	}
}

func TestLastingTimeouts(t *testing.T) {
	in := sized(weekOf(10, []int32{100_000}))
	in.Table = 50_000
	in.Classes[TCPTimeWait] = ClassUse{Entries: 24_000, Least: 23_000, Older: 18_000}
	in.Classes[TCPEstablished] = ClassUse{Entries: 20_000, Least: 19_000, Older: 1200}
	in.Classes[UDP] = ClassUse{Entries: 6000, Least: 5900, Older: 5000} // is at the least already
	z := size(t, in)
	if len(z.Timeouts) != 2 {
		t.Fatalf("%+v", z.Timeouts)
	}
	wait, open := z.Timeouts[0], z.Timeouts[1]
	if wait.Key != "net.netfilter.nf_conntrack_tcp_timeout_time_wait" || wait.Now != 120 || wait.To != 30 || wait.Frees != 18_000 || wait.AtPeak != 36_000 {
		t.Errorf("%+v", wait)
	}
	if want := "It holds 24,000 of 50,000 entries (48 %): 200 connections a second that stay for 2m each (Little's law)."; wait.Reason != want {
		t.Errorf("%s", wait.Reason)
	}
	if want := "18,000 entries (36 % of the table), which have been silent for 30s or longer; 36,000 at the peak. Those that exist keep the time they have."; wait.Gain != want {
		t.Errorf("%s", wait.Gain)
	}
	if open.To != 7440 || strings.Contains(open.Reason, "Little") || !strings.Contains(open.TradeOff, "RFC 5382") {
		t.Errorf("%+v", open)
	}
	// The guardian's own are not for good.
	in.Now.Timeouts[TCPTimeWait] = 20
	change := Change{Measure: ShortenTimeouts, State: Applied}
	change.Timeouts[TCPTimeWait] = TimeoutEdit{Before: 90, After: 20}
	in.Now.Changes = []Change{change}
	if wait := size(t, in).Timeouts[0]; wait.Now != 90 || wait.To != 30 {
		t.Errorf("%+v", wait)
	}
	for of, use := range map[string]ClassUse{"few": {2400, 2400, 2400}, "young": {24_000, 24_000, 900}, "unsure": {3000, 2000, 3000}} {
		in.Classes = [Timeouts]ClassUse{TCPTimeWait: use}
		if got := size(t, in).Timeouts; len(got) != 0 {
			t.Errorf("%s: %+v", of, got)
		}
	}
}

// No timeout is longer for good than the kernel's default, nor shorter than in an
// emergency, and none of an established connection below its RFC.
func TestLastingsLieBetween(t *testing.T) {
	for c := range Timeouts {
		switch floor := int(defaultFloors[c].Floor.Seconds()); {
		case Lasting(c) == 0:
			if c < SCTPClosed || c > SCTPShutdownAckSent {
				t.Errorf("%s has none", c)
			}
		case Lasting(c) < floor:
			t.Errorf("%s: %d s, the floor of an emergency is %d", c, Lasting(c), floor)
		case lastings[c].tradeOff == "":
			t.Errorf("%s has no trade-off", c)
		}
	}
	if Lasting(TCPEstablished) < 7440 || Lasting(UDPStream) < 120 {
		t.Error("below RFC 5382 or RFC 4787")
	}
}

func TestPools(t *testing.T) {
	a, b := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	x, y := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	for name, tc := range map[string]struct {
		pools []PoolUse
		want  []SizedPool
	}{
		"enough": {
			[]PoolUse{{a, x, 443, "tcp", 10_000, 1024, 65000}, {a, y, 443, "tcp", 9000, 1024, 65000}},
			[]SizedPool{{Dst: x, Port: 443, Proto: "tcp", Addresses: 1, Needed: 1, Used: 10_000, AtPeak: 20_000, Ports: 64512}},
		},
		"two have too few": {
			[]PoolUse{{a, x, 443, "tcp", 40_000, 1024, 65000}, {a, y, 53, "udp", 60_000, 1024, 65000}},
			[]SizedPool{
				{Dst: y, Port: 53, Proto: "udp", Addresses: 1, Needed: 4, Used: 60_000, AtPeak: 120_000, Ports: 64512},
				{Dst: x, Port: 443, Proto: "tcp", Addresses: 1, Needed: 3, Used: 40_000, AtPeak: 80_000, Ports: 64512},
			},
		},
		"addresses add up": {
			[]PoolUse{{a, x, 443, "tcp", 10_000, 1024, 65000}, {b, x, 443, "tcp", 12_000, 1024, 65000}},
			[]SizedPool{{Dst: x, Port: 443, Proto: "tcp", Addresses: 2, Needed: 2, Used: 22_000, AtPeak: 44_000, Ports: 64512}},
		},
		"a range of its own": {
			[]PoolUse{{a, x, 80, "tcp", 480, 20_000, 20_499}},
			[]SizedPool{{Dst: x, Port: 80, Proto: "tcp", Addresses: 1, Needed: 4, Used: 480, AtPeak: 960, Ports: 500}},
		},
		"few ports tell no range": {
			[]PoolUse{{a, x, 80, "tcp", 99, 20_000, 20_099}},
			[]SizedPool{{Dst: x, Port: 80, Proto: "tcp", Addresses: 1, Needed: 1, Used: 99, AtPeak: 198, Ports: 64512}},
		},
		"the ports of clients are no range": {
			[]PoolUse{{a, x, 80, "tcp", 15_000, 32_768, 60_999}},
			[]SizedPool{{Dst: x, Port: 80, Proto: "tcp", Addresses: 1, Needed: 1, Used: 15_000, AtPeak: 30_000, Ports: 64512}},
		},
		"none": {nil, []SizedPool{}},
	} {
		in := sized(weekOf(10, []int32{100_000}))
		in.Table, in.Pools = 50_000, tc.pools
		got := size(t, in).Pools
		for i := range got {
			if (got[i].TradeOff == "") != (got[i].Needed <= got[i].Addresses) || got[i].Reason == "" {
				t.Errorf("%s: %+v", name, got[i])
			}
			if got[i].Ports < 64512 && !strings.HasPrefix(got[i].TradeOff, "If the NAT rule has that range, a wider one") {
				t.Errorf("%s: %+v", name, got[i])
			}
			got[i].Reason, got[i].TradeOff = "", ""
		}
		if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A census of a quiet hour is not made one of a busy one.
func TestQuietHour(t *testing.T) {
	in := sized(weekOf(10, []int32{100_000}))
	in.Table = 24_000
	in.Pools = []PoolUse{{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1"), 443, "tcp", 10_000, 1024, 65000}}
	z := size(t, in)
	if z.Pools[0].AtPeak != 10_000 || len(z.Notes) != 1 || !strings.HasPrefix(z.Notes[0], "The census is of a quiet hour (24,000 entries") {
		t.Errorf("%+v, %q", z.Pools, z.Notes)
	}
	in.Table = 25_000
	if z := size(t, in); z.Pools[0].AtPeak != 40_000 || len(z.Notes) != 0 {
		t.Errorf("%+v, %q", z.Pools, z.Notes)
	}
}

func TestUntracked(t *testing.T) {
	in := sized(weekOf(10, []int32{100_000}))
	in.Table = 50_000
	in.Services = []ServiceUse{
		{netip.MustParseAddr("10.0.0.1"), 53, "udp", 4000, true},
		{netip.MustParseAddr("2001:db8::7"), 514, "tcp", 9000, false},
		{netip.MustParseAddr("10.0.0.2"), 80, "tcp", 499, false},
	}
	got := size(t, in).Untracked
	if len(got) != 2 || got[0].Entries != 9000 || got[1].Share != 0.08 {
		t.Fatalf("%+v", got)
	}
	if want := []string{"ip daddr 10.0.0.1 udp dport 53 notrack", "ip saddr 10.0.0.1 udp sport 53 notrack"}; !cmp.Equal(got[1].Rules, want) {
		t.Errorf("%q", got[1].Rules)
	}
	if want := []string{"ip6 daddr 2001:db8::7 tcp dport 514 notrack", "ip6 saddr 2001:db8::7 tcp sport 514 notrack"}; !cmp.Equal(got[0].Rules, want) {
		t.Errorf("%q", got[0].Rules)
	}
	if !strings.HasPrefix(got[1].Reason, "It is the gateway itself. 4,000 of 50,000 entries (8 %)") || !strings.Contains(got[0].TradeOff, "open at the change") {
		t.Errorf("%+v", got)
	}
	for port := range uint16(7) {
		in.Services = append(in.Services, ServiceUse{netip.MustParseAddr("10.0.0.3"), port, "tcp", 600 + int(port), false})
	}
	if got := size(t, in).Untracked; len(got) != 5 || got[4].Entries != 604 {
		t.Errorf("%+v", got)
	}
}

// A table is not taken for full over a time without readings, nor where the clock of
// another boot goes on.
func TestPeaksOverAGap(t *testing.T) {
	full := Snapshot{Count: 100, Max: 100}
	for name, tc := range map[string]struct{ then, want time.Duration }{
		"a reading later":  {101 * time.Second, time.Second},
		"the longest":      {100*time.Second + longestGap, longestGap},
		"a night off":      {100*time.Second + longestGap + 1, 0},
		"the machine anew": {90 * time.Second, 0},
	} {
		var p Peaks
		p.Add(&full, 100*time.Second)
		p.Add(&full, tc.then)
		if p.Full != tc.want {
			t.Errorf("%s: full for %v, want %v", name, p.Full, tc.want)
		}
	}
}

// What would cut off a gateway in an incident says so.
func TestNotNow(t *testing.T) {
	raised := func(m Measure, before int) []Change {
		return []Change{{ID: 1, Measure: m, State: Applied, Before: before, After: 524_288}}
	}
	for name, tc := range map[string]struct {
		change func(*Snapshot)
		says   string
	}{
		"calm":         {func(s *Snapshot) {}, ""},
		"raised":       {func(s *Snapshot) { s.Count, s.Max, s.Changes = 480_000, 524_288, raised(RaiseMax, 262_144) }, "cut to 262,144 with 480,000 entries"},
		"a little":     {func(s *Snapshot) { s.Max, s.Changes = 262_144, raised(RaiseMax, 65_536) }, "cut to 204,800"},
		"buckets":      {func(s *Snapshot) { s.Buckets, s.Changes = 524_288, raised(GrowBuckets, 65_536) }, "to shrink them stalls all packets"},
		"more entries": {func(s *Snapshot) { s.Count, s.Max = 480_000, 0 }, "there are 480,000 entries"},
		"lent less":    {func(s *Snapshot) { s.Max, s.Changes = 100_000, raised(RaiseMax, 65_536) }, "take the new value for somebody else's"},
	} {
		in := sized(weekOf(10, []int32{90_000, 100_000}))
		tc.change(in.Now)
		z := size(t, in)
		if (z.NotNow == "") != (tc.says == "") || !strings.Contains(z.NotNow, tc.says) {
			t.Errorf("%s: %q", name, z.NotNow)
		}
	}
}
