package demo

import (
	"fmt"
	"time"
)

// Config is a demonstration.
type Config struct {
	Guardian string // path of conntrack-guardian

	Max  int // nf_conntrack_max during the demonstration
	Rate int // new flows of the flood per second; it sends 2 × Max of them
	TCP  int // new connections of well-behaved clients per second
	UDP  int // exchanges of well-behaved clients per second

	Before time.Duration // of quiet before the flood
	Top    time.Duration // at the top after the flood

	// Progress, if set, is called with every sample.
	Progress func(Progress)
}

// Default takes about a minute. The flood is far below what the lab can send: it
// must leave the clients and the guardian their share of two CPUs.
func Default() Config {
	return Config{
		Max: 65_536, Rate: 16_384, TCP: 200, UDP: 50,
		Before: 2 * time.Second, Top: 3 * time.Second,
	}
}

// Check refuses what would show nothing.
func (c Config) Check() error {
	switch {
	case c.Max < 1024 || c.Max > 1<<20:
		return fmt.Errorf("max of %d: it must be from 1024 to 1048576", c.Max)
	case c.Rate < 256 || c.flood() > time.Minute:
		return fmt.Errorf("rate of %d flows/s: %d flows must be sent within a minute", c.Rate, c.flows())
	case c.TCP < 1 || c.TCP > 2000 || c.UDP < 0 || c.UDP > 2000:
		return fmt.Errorf("%d connections and %d exchanges per second: each at most 2000, at least one connection", c.TCP, c.UDP)
	case c.Before < 0 || c.Top < 0 || c.Before+c.Top > time.Minute:
		return fmt.Errorf("%s before and %s after the flood: together at most a minute", c.Before, c.Top)
	}
	return nil
}

// flows is how many the flood sends: twice what the table takes.
func (c Config) flows() int { return 2 * c.Max }

// flood is how long it sends.
func (c Config) flood() time.Duration {
	return time.Duration(float64(c.flows()) / float64(max(c.Rate, 1)) * float64(time.Second))
}

// established is the gateway's tcp_timeout_established in seconds. By it the
// flood's entries go away again: just late enough that none does before the top
// is over.
func (c Config) established() int {
	return int((c.flood() + c.Top).Seconds()) + 4
}

// ceiling is how far the guardian may raise nf_conntrack_max.
func (c Config) ceiling() int { return 4 * c.Max }

// policy is the guardian's policy file. The spans are short so that the whole
// episode, from the first raise to the last undo, is over within seconds.
func (c Config) policy(namespace string) string {
	return fmt.Sprintf(`version = 1
mode = "act"
namespace = %q

[watch]
high = 0.80
low = 0.50
horizon = "10s"
window = "2s"
calm = "3s"

[raise_max]
mode = "act"
ceiling = %d
step = 2
reach = "10s"
cooldown = "500ms"
hold = "5s"
check = "2s"

[grow_buckets]
mode = "off"
`, namespace, c.ceiling())
}
