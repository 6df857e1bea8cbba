package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A setting is one key of the policy file, of a File or of each flow in it.
type setting[T any] struct {
	name  string                   // dotted; in flowSchema without the flow's table
	field func(in *T) any          // pointer to what it sets, nil for what only check asks for
	set   func(in *T, v any) error // v is as the TOML parser gives it
	write func(in *T) string       // how its value is written, where its field does not tell; may be nil
}

// text is the value as it is written in the file, "" for what sets nothing.
func (s setting[T]) text(in *T) string {
	switch {
	case s.write != nil:
		return s.write(in)
	case s.field == nil:
		return ""
	}
	return literal(s.field(in))
}

// written gives a setting a way of its own to be written.
func (s setting[T]) written(write func(*T) string) setting[T] {
	s.write = write
	return s
}

// cutLast parts a dotted name at its last dot: into a table, "" being the top of
// the file, and what stands in it.
func cutLast(full string) (table, name string) {
	i := strings.LastIndexByte(full, '.')
	return full[:max(i, 0)], full[i+1:]
}

// key is the setting of one field, of one kind.
func key[T, V any](name string, field func(*T) *V, kind func(any) (V, error)) setting[T] {
	return setting[T]{
		name:  name,
		field: func(in *T) any { return field(in) },
		set: func(in *T, v any) error {
			value, err := kind(v)
			if err == nil {
				*field(in) = value
			}
			return err
		},
	}
}

const (
	day = 24 * time.Hour
	// month is the longest of all spans: what is meant to last longer belongs
	// into sysctl.d.
	month = 30 * day
	// maxEntries is the largest value of nf_conntrack_max, an int in the kernel.
	maxEntries = 1<<31 - 1
	// maxAllActs is that of all five measures together.
	maxAllActs = 5 * policy.MaxActs
)

// schema holds every key of the file once. The bounds keep out slips of the
// hand and what would make a rule meaningless, not bad judgement.
var schema = slices.Concat([]setting[File]{
	{name: versionKey, set: setVersion},
	key("mode", func(f *File) *mode { return &f.Policy.Mode }, aMode),
	// Shorter, a guardian that has no CPU for a moment would let go of what it holds.
	key("lease", func(f *File) *span { return &f.Policy.Lease }, seconds(5*time.Second, 10*time.Minute)),
	key("namespace", func(f *File) *string { return &f.Namespace }, aPath),

	key("acts_per_hour.all", func(f *File) *int { return &f.Policy.ActsPerHour.All }, whole(1, maxAllActs)),
	key("acts_per_hour.raise_max", func(f *File) *int { return &f.Policy.ActsPerHour.RaiseMax }, whole(1, policy.MaxActs)),
	key("acts_per_hour.grow_buckets", func(f *File) *int { return &f.Policy.ActsPerHour.GrowBuckets }, whole(1, policy.MaxActs)),
	key("acts_per_hour.shorten_timeouts", func(f *File) *int { return &f.Policy.ActsPerHour.ShortenTimeouts }, whole(1, policy.MaxActs)),
	key("acts_per_hour.limit_source", func(f *File) *int { return &f.Policy.ActsPerHour.LimitSource }, whole(1, policy.MaxActs)),
	key("acts_per_hour.bypass", func(f *File) *int { return &f.Policy.ActsPerHour.Bypass }, whole(1, policy.MaxActs)),

	key("watch.high", func(f *File) *float64 { return &f.Policy.Watch.High }, ratio(0.01, 1)),
	// Raises aim at the low mark: at 0 no table would be large enough.
	key("watch.low", func(f *File) *float64 { return &f.Policy.Watch.Low }, ratio(0.01, 0.99)),
	key("watch.horizon", func(f *File) *span { return &f.Policy.Watch.Horizon }, duration(time.Second, time.Hour)),
	// Kept in sixteen slots however long it is; longer, a flood would come as news.
	key("watch.window", func(f *File) *span { return &f.Policy.Watch.Window }, duration(2*time.Second, 10*time.Minute)),
	key("watch.calm", func(f *File) *span { return &f.Policy.Watch.Calm }, duration(time.Second, day)),
	// 150 million is the packet rate of 100 Gbit/s at the smallest frame.
	key("watch.worst_fill_rate", func(f *File) *float64 { return &f.Policy.Watch.WorstFillRate }, number(1, 150e6)),
	// With a floor of 0 no losses at all would be trouble.
	key("watch.loss_floor", func(f *File) *int { return &f.Policy.Watch.LossFloor }, whole(1, 1_000_000_000)),
	key("watch.yield_for", func(f *File) *span { return &f.Policy.Watch.YieldFor }, duration(time.Second, month)),

	// Fewer say little; more take as long as the whole table.
	key("census.sample", func(f *File) *int { return &f.Policy.Census.Sample }, whole(1000, 1_000_000)),
	key("census.every", func(f *File) *span { return &f.Policy.Census.Every }, duration(time.Second, day)),
	// With less the table would be another before the census is done.
	key("census.cpu", func(f *File) *float64 { return &f.Policy.Census.CPU }, ratio(0.05, 1)),
	key("census.count_new", func(f *File) *counting { return &f.Policy.Census.CountNew }, aCounting),

	key("memory.budget", func(f *File) *float64 { return &f.Policy.Memory.Budget }, ratio(0.01, 1)),
	key("memory.entry_bytes", func(f *File) *int { return &f.Policy.Memory.EntryBytes }, whole(64, 65_536)),
	key("memory.tables", func(f *File) *int { return &f.Policy.Memory.Tables }, whole(1, 100_000)),

	key("raise_max.mode", func(f *File) *mode { return &f.Policy.RaiseMax.Mode }, aMode),
	key("raise_max.ceiling", func(f *File) *int { return &f.Policy.RaiseMax.Ceiling }, whole(1, maxEntries)),
	// Less than 1/64 more is not worth a write, so a smaller step would never be made.
	key("raise_max.step", func(f *File) *float64 { return &f.Policy.RaiseMax.Step }, number(1.05, 16)),
	key("raise_max.reach", func(f *File) *span { return &f.Policy.RaiseMax.Reach }, duration(time.Second, day)),
	key("raise_max.cooldown", func(f *File) *span { return &f.Policy.RaiseMax.Cooldown }, duration(100*time.Millisecond, month)),
	key("raise_max.hold", func(f *File) *span { return &f.Policy.RaiseMax.Hold }, duration(time.Second, month)),
	key("raise_max.check", func(f *File) *span { return &f.Policy.RaiseMax.Check }, duration(time.Second, day)),

	key("grow_buckets.mode", func(f *File) *mode { return &f.Policy.GrowBuckets.Mode }, aMode),
	// The unit in which buckets are grown: under one nothing could be done.
	key("grow_buckets.ceiling", func(f *File) *int { return &f.Policy.GrowBuckets.Ceiling }, whole(8192, maxEntries)),
	// A mean of 2 is what the kernel's own sizing aims at.
	key("grow_buckets.chain", func(f *File) *float64 { return &f.Policy.GrowBuckets.Chain }, number(2, 1024)),
	// Each resize stalls all packets for up to a second.
	key("grow_buckets.cooldown", func(f *File) *span { return &f.Policy.GrowBuckets.Cooldown }, duration(10*time.Second, month)),
	key("grow_buckets.hold", func(f *File) *span { return &f.Policy.GrowBuckets.Hold }, duration(time.Second, month)),
	key("grow_buckets.check", func(f *File) *span { return &f.Policy.GrowBuckets.Check }, duration(time.Second, day)),
	key("grow_buckets.shrink", func(f *File) *bool { return &f.Policy.GrowBuckets.Shrink }, aFlag),

	key("shorten_timeouts.mode", func(f *File) *mode { return &f.Policy.ShortenTimeouts.Mode }, aMode),
	key("shorten_timeouts.start", func(f *File) *float64 { return &f.Policy.ShortenTimeouts.Start }, ratio(0.01, 0.99)),
	key("shorten_timeouts.end", func(f *File) *float64 { return &f.Policy.ShortenTimeouts.End }, ratio(0.02, 1)),
	key("shorten_timeouts.share", func(f *File) *float64 { return &f.Policy.ShortenTimeouts.Share }, ratio(0, 1)),
	key("shorten_timeouts.retime", func(f *File) *bool { return &f.Policy.ShortenTimeouts.Retime }, aFlag),
	// With less a walk would sleep so long between what it reads that entries see packets
	// before they are deleted as too old.
	key("shorten_timeouts.budget", func(f *File) *int { return &f.Policy.ShortenTimeouts.Budget }, zeroOr(whole(10_000, 1_000_000_000), "no limit")),
	key("shorten_timeouts.cooldown", func(f *File) *span { return &f.Policy.ShortenTimeouts.Cooldown }, duration(time.Second, month)),
	key("shorten_timeouts.hold", func(f *File) *span { return &f.Policy.ShortenTimeouts.Hold }, duration(time.Second, month)),
	key("shorten_timeouts.check", func(f *File) *span { return &f.Policy.ShortenTimeouts.Check }, duration(time.Second, day)),
	{name: belowRFCKey, set: setBelowRFC},
}, timeoutSettings(), []setting[File]{
	key("limit_source.mode", func(f *File) *mode { return &f.Policy.LimitSource.Mode }, aMode),
	key("limit_source.rate", func(f *File) *int { return &f.Policy.LimitSource.Rate }, whole(1, 1_000_000)),
	key("limit_source.burst", func(f *File) *int { return &f.Policy.LimitSource.Burst }, whole(1, 1_000_000)),
	// Below that it is chance who comes first in a census.
	key("limit_source.share", func(f *File) *float64 { return &f.Policy.LimitSource.Share }, ratio(0.02, 1)),
	key("limit_source.max_sources", func(f *File) *int { return &f.Policy.LimitSource.MaxSources }, whole(1, policy.MaxLimited)),
	key("limit_source.ipv4_prefix", func(f *File) *int { return &f.Policy.LimitSource.IPv4Bits }, whole(8, 32)),
	// A site has a /48, and a provider a /32.
	key("limit_source.ipv6_prefix", func(f *File) *int { return &f.Policy.LimitSource.IPv6Bits }, whole(32, 128)),
	key("limit_source.allow", func(f *File) *[]netip.Prefix { return &f.Policy.LimitSource.Allow }, prefixes),
	key("limit_source.hold", func(f *File) *span { return &f.Policy.LimitSource.Hold }, duration(time.Second, month)),
	key("limit_source.check", func(f *File) *span { return &f.Policy.LimitSource.Check }, duration(time.Second, day)),
	key("limit_source.escalation", func(f *File) *escalation { return &f.Policy.LimitSource.Escalation }, anEscalation),
	key("limit_source.escalate_after", func(f *File) *int { return &f.Policy.LimitSource.EscalateAfter }, whole(1, 1000)),

	key("record.size", func(f *File) *int64 { return &f.Record.Size }, zeroOr(mebibytes(8, 65_536), "no record")).
		written(func(f *File) string { return strconv.FormatInt(f.Record.Size/mebibyte, 10) }),

	key("control.read", func(f *File) *bool { return &f.Control.ReadAll }, aReader).
		written(func(f *File) string { return strconv.Quote(reader(f.Control.ReadAll).String()) }),
	key("control.group", func(f *File) *string { return &f.Control.Group }, aGroup),
})

// settings and flowSettings are the schemas by name. known are the names of both in
// full, a flow's with anyFlow for its own name, and tables those they stand in.
var (
	settings     = byName(schema)
	flowSettings = byName(flowSchema)
	known        = inFull()
	tables       = tablesOf(known)
)

func byName[T any](schema []setting[T]) map[string]setting[T] {
	all := map[string]setting[T]{}
	for _, s := range schema {
		all[s.name] = s
	}
	return all
}

func inFull() (all []string) {
	for _, s := range schema {
		all = append(all, s.name)
	}
	for _, s := range flowSchema {
		all = append(all, flowTable(anyFlow)+"."+s.name)
	}
	return all
}

func tablesOf(names []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		for table, _ := cutLast(name); table != ""; table, _ = cutLast(table) {
			all[table] = true
		}
	}
	return all
}
