package policy

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the decisions seen into testdata")

// TestTimelines plays each recorded incident and compares every decision.
//
// An archive holds `traffic` and `decisions`. A line of traffic is
//
//	DURATION KEY=VALUE...
//
// and is read at the policy's own pace for that long. want=A..B moves the entries
// the traffic would have; drop, insert_failed, early_drop, chaintoolong and found
// are rates per second; max, buckets and mem (MiB) are set at its beginning, as a
// rival would; do=restart, do=refuse and do=allow act on the guardian. What a
// census would find (of census=READ entries, which comes first) is said in percent of the entries by closing, dead_udp,
// opening, idle and hog (held by one source), by new (connections per second, the
// hog's share of them its own) and ports (of one NAT address in use). The name of a
// timeout says what percent of the entries take theirs from it; such a table shrinks and
// grows with the timeouts, and refuses what does not fit. do=stay leaves existing entries
// as they are, and time_wait_is is what a rival writes. Of the hog, steady is how many
// connections it makes a second, as long as the line lasts, and own=1 makes it the
// gateway's own; equal=N is that many sources that hold the same. translated=1 has
// entries of the flows that may bypass tracking translated.
// Before the traffic, lines "set KEY VALUE" change the configuration, and
// "learned HOURS low=A..B rate=R" gives the guardian a past.
func TestTimelines(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no timelines in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(ar.Files) != 2 || ar.Files[0].Name != "traffic" || ar.Files[1].Name != "decisions" {
		t.Fatalf("%s: want the files traffic and decisions", file)
	}
	got, err := play(string(ar.Files[0].Data))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if *update {
		ar.Files[1].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(ar.Files[1].Data), got); d != "" {
		t.Errorf("decisions differ (-want +got):\n%s", d)
	}
}

func play(traffic string) (string, error) {
	cfg := Default()
	cfg.Mode = Act
	var out strings.Builder
	var m *sim
	var past Baseline
	for n, line := range strings.Split(traffic, "\n") {
		f := strings.Fields(line)
		var err error
		switch {
		case len(f) == 0 || strings.HasPrefix(line, "#"):
		case f[0] == "set" && len(f) == 3 && m == nil:
			err = set(&cfg, f[1], f[2])
		case f[0] == "learned" && m == nil:
			err = learned(&past, line)
		default:
			if m == nil {
				m = newSim(cfg)
				m.st.Baseline = past
			}
			err = m.play(f, &out)
		}
		if err != nil {
			return "", fmt.Errorf("traffic line %d: %q: %w", n+1, line, err)
		}
	}
	if m == nil {
		return "", fmt.Errorf("no traffic")
	}
	fmt.Fprintf(&out, "end max=%d buckets=%d episode=%q\n", m.s.Max, m.s.Buckets, m.st.Episode.Name)
	return out.String(), nil
}

// learned adds hours with a steady rise of their low.
func learned(b *Baseline, line string) error {
	var hours, from, to int
	var rate float32
	if _, err := fmt.Sscanf(line, "learned %d low=%d..%d rate=%g", &hours, &from, &to, &rate); err != nil {
		return err
	}
	for i := range hours {
		low := int32(from + (to-from)*i/max(hours-1, 1))
		b.add(Hour{Low: low, High: low + low/10, Rate: rate})
	}
	return nil
}

// play runs one line of traffic.
func (m *sim) play(f []string, out *strings.Builder) error {
	span, err := time.ParseDuration(f[0])
	if err != nil {
		return err
	}
	from, to, rate := m.want, m.want, Counters{}
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		if k == "want" {
			a, b, ranged := strings.Cut(v, "..")
			if !ranged {
				b = a
			}
			if from, err = strconv.Atoi(a); err == nil {
				to, err = strconv.Atoi(b)
			}
		} else {
			err = m.apply(k, v, &rate)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", kv, err)
		}
	}
	start := m.now
	for m.now < start+span {
		pause := min(Pause(&m.s, &m.cfg), start+span-m.now)
		done := float64(m.now+pause-start) / float64(span)
		for _, d := range m.step(pause, from+int(done*float64(to-from)), rate) {
			fmt.Fprintln(out, line(m.now-100*time.Second, d))
		}
	}
	return nil
}

func (m *sim) apply(k, v string, rate *Counters) error {
	if k == "do" {
		switch v {
		case "restart":
			m.restart()
		case "refuse", "allow":
			m.refuse = v == "refuse"
		case "early_drop":
			m.full = v
		case "stay": // existing entries are not dealt with
			m.classes.walks = false
		default:
			return fmt.Errorf("unknown act")
		}
		return nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return err
	}
	if t, ok := TimeoutNamed(k); ok {
		m.classes.share[t] = float64(n) / 100
		return nil
	}
	percent := sampled(float64(n) / 100)
	switch k {
	case "closing":
		m.mix.Closing = percent
	case "dead_udp":
		m.mix.DeadUDP = percent
	case "opening":
		m.mix.Opening = percent
	case "idle":
		m.mix.Idle = percent
	case "hog":
		m.mix.Sources[0] = Holder{Prefix: hogsAddress, Share: percent, New: m.mix.New * percent.Share}
		m.mix.Fastest = m.mix.Sources[0]
	case "steady":
		m.mix.Sources[0].Steady, m.demand = float64(n), float64(n)
	case "equal":
		for i := range min(n, len(m.mix.Sources)) {
			m.mix.Sources[i] = Holder{
				Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 32), Share: sampled(1 / float64(n)), New: 900, Steady: 900,
			}
		}
	case "own": // the hog is ours
		m.s.Allowed = []Allowed{{netip.PrefixFrom(hogsAddress.Addr(), 32), "own address", true}}
	case "translated":
		m.uses = n > 0
	case "new":
		m.mix.Counted, m.mix.New = true, float64(n)
	case "ports":
		m.mix.Pool = Pool{
			NAT: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("198.51.100.7"), Port: 443, Proto: "tcp",
			Used: n, Lowest: 1024, Highest: uint16(1024 + n - 1),
		}
	case "census":
		m.mix = Census{Read: n}
	case "time_wait_is": // somebody writes it
		m.s.Timeouts[TCPTimeWait] = n
	case "max":
		m.s.Max = n
	case "buckets":
		m.s.Buckets = n
	case "mem":
		m.s.MemAvailable = int64(n) << 20
	case "drop":
		rate.Drop = uint64(n)
	case "insert_failed":
		rate.InsertFailed = uint64(n)
	case "early_drop":
		rate.EarlyDrop = uint64(n)
	case "chaintoolong":
		rate.ChainTooLong = uint64(n)
	case "found":
		rate.Found = uint64(n)
	default:
		return fmt.Errorf("unknown key")
	}
	return nil
}

func set(c *Config, key, value string) error {
	var err error
	switch key {
	case "mode":
		c.Mode, err = map[string]Mode{"off": Off, "observe": Observe, "advise": Advise, "act": Act}[value], nil
	case "raise_max.ceiling":
		c.RaiseMax.Ceiling, err = strconv.Atoi(value)
	case "raise_max.hold":
		c.RaiseMax.Hold, err = time.ParseDuration(value)
	case "grow_buckets.chain":
		c.GrowBuckets.Chain, err = strconv.ParseFloat(value, 64)
	case "grow_buckets.hold":
		c.GrowBuckets.Hold, err = time.ParseDuration(value)
	case "watch.window":
		c.Watch.Window, err = time.ParseDuration(value)
	case "raise_max.step":
		c.RaiseMax.Step, err = strconv.ParseFloat(value, 64)
	case "memory.tables":
		c.Memory.Tables, err = strconv.Atoi(value)
	case "grow_buckets.shrink":
		c.GrowBuckets.Shrink, err = strconv.ParseBool(value)
	case "shorten_timeouts.mode":
		c.ShortenTimeouts.Mode, err = map[string]Mode{"off": Off, "observe": Observe, "advise": Advise, "act": Act}[value], nil
	case "shorten_timeouts.hold":
		c.ShortenTimeouts.Hold, err = time.ParseDuration(value)
	case "established": // opted in
		c.ShortenTimeouts.Floors[TCPEstablished].Mode = Act
	case "time_wait.floor":
		c.ShortenTimeouts.Floors[TCPTimeWait].Floor, err = time.ParseDuration(value)
	case "limit_source.mode":
		c.LimitSource.Mode, err = map[string]Mode{"off": Off, "observe": Observe, "advise": Advise, "act": Act}[value], nil
	case "limit_source.max_sources":
		c.LimitSource.MaxSources, err = strconv.Atoi(value)
	case "limit_source.escalation":
		c.LimitSource.Escalation = map[string]Escalation{"delete": DeleteUnreplied, "drop": DropAll}[value]
	case "allow":
		var p netip.Prefix
		p, err = netip.ParsePrefix(value)
		c.LimitSource.Allow = append(c.LimitSource.Allow, p)
	case "bypass", "lifeline":
		f := Flow{Name: value, Mode: Act, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Proto: 17, Ports: []Ports{{53, 53}}, Hold: 10 * time.Minute}
		if f.Lifeline = key == "lifeline"; f.Lifeline {
			f.Proto, f.Ports = 6, []Ports{{22, 22}}
		} else {
			f.To = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}
		c.Bypass = append(c.Bypass, f)
	default:
		return fmt.Errorf("unknown setting")
	}
	return err
}

func line(at time.Duration, d Decision) string {
	s := fmt.Sprintf("%-8s %s", at.Round(time.Millisecond), d.Verb)
	if d.Measure != "" {
		s += " " + string(d.Measure)
	}
	if d.Change != 0 {
		s += fmt.Sprintf(" #%d", d.Change)
	}
	if d.From != d.To {
		s += fmt.Sprintf(" %d->%d", d.From, d.To)
	}
	if d.Terms != nil && d.Terms.Flow != "" {
		s += " " + d.Terms.Flow
	} else if d.Terms != nil {
		s += " " + d.Terms.Source.String()
	}
	for _, e := range d.Timeouts {
		s += fmt.Sprintf(" %s %d->%d", e.Name, e.From, e.To)
	}
	if d.Outcome != "" {
		s += fmt.Sprintf(" [%s]", d.Outcome)
	}
	if d.Pattern != NoPattern && d.Cause != None {
		return s + fmt.Sprintf(" (%s, %s %.0f %% %s) %s", d.Cause, d.Pattern, d.Confidence*100, d.Episode, d.Reason)
	}
	return s + fmt.Sprintf(" (%s %s) %s", d.Cause, d.Episode, d.Reason)
}
