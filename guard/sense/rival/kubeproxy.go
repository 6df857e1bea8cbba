package rival

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kubeFlags are what kube-proxy is told of conntrack.
type kubeFlags struct {
	perCore, min int                      // 0 per core leaves the limit alone
	timeouts     map[string]time.Duration // by sysctl; 0 leaves it alone
	config       bool                     // the rest is in a file, which overrides them
}

// kubeTimeouts are the sysctls of its flags, with their defaults
// (pkg/proxy/apis/config/v1alpha1/defaults.go).
var kubeTimeouts = map[string]struct {
	key     string
	without time.Duration
}{
	"conntrack-tcp-timeout-established": {prefix + "tcp_timeout_established", 24 * time.Hour},
	"conntrack-tcp-timeout-close-wait":  {prefix + "tcp_timeout_close_wait", time.Hour},
	"conntrack-udp-timeout":             {prefix + "udp_timeout", 0},
	"conntrack-udp-timeout-stream":      {prefix + "udp_timeout_stream", 0},
}

// parseKubeFlags reads what is said of conntrack; what is malformed would keep
// kube-proxy from running.
func parseKubeFlags(args []string) kubeFlags {
	f := kubeFlags{perCore: 32768, min: 131072, timeouts: map[string]time.Duration{}}
	for _, t := range kubeTimeouts {
		f.timeouts[t.key] = t.without
	}
	for i, arg := range args {
		arg = strings.TrimPrefix(arg, "--kube-proxy-arg=")
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		f.take(name, value)
	}
	return f
}

func (f *kubeFlags) take(name, value string) {
	n, notNumber := strconv.Atoi(value)
	d, notSpan := time.ParseDuration(value)
	switch {
	case name == "conntrack-max-per-core" && notNumber == nil:
		f.perCore = n
	case name == "conntrack-min" && notNumber == nil:
		f.min = n
	case name == "config":
		f.config = true
	case kubeTimeouts[name].key != "" && notSpan == nil:
		f.timeouts[kubeTimeouts[name].key] = d
	}
}

// hashStep is what the kernel makes buckets a multiple of (nf_ct_alloc_hashtable).
const hashStep = 512

// writes is what kube-proxy writes to a key, 0 for nothing.
func (f kubeFlags) writes(key string, cpus int) int {
	limit := 0
	if f.perCore > 0 {
		limit = max(f.perCore*cpus, f.min)
	}
	switch key {
	case keyMax:
		return limit
	case keyBuckets:
		return (limit/4 + hashStep - 1) / hashStep * hashStep
	}
	return int(f.timeouts[key] / time.Second)
}

// kubeProxy is kube-proxy if it runs and writes one of the keys. It does so when it
// starts, and only to more than there is (cmd/kube-proxy/app/conntrack.go).
func kubeProxy(s *search) (all []Suspect) {
	p, ok := s.kubeProcess()
	if !ok {
		return nil
	}
	flags := parseKubeFlags(strings.Fields(strings.Join(p.args, " "))) // some write their title as one
	for _, d := range s.drifts {
		want := flags.writes(d.key, s.cpus())
		why := fmt.Sprintf("%s, which sets %s to %d when it starts", p.of(), d.short(), want)
		switch {
		case want == 0 && !flags.config:
		case want > 0 && d.reads(strconv.Itoa(want)):
			if d.lowered() {
				why += ", but is known to raise it only"
			}
			return []Suspect{{"kube-proxy", why, !d.lowered()}}
		case flags.config:
			all = []Suspect{{"kube-proxy", p.of() + ", which sets some of these when it starts, as its configuration says", false}}
		}
	}
	return all
}

// kubeProcess finds kube-proxy, also inside of those that have it built in.
func (s *search) kubeProcess() (process, bool) {
	for _, p := range s.run() {
		switch {
		case p.is("kube-proxy"), p.is("kubelite"), p.is("k3s-server"), p.is("k3s-agent"):
			return p, true
		case p.is("k3s"), p.is("hyperkube"):
			if slices.ContainsFunc(p.args, func(a string) bool { return slices.Contains([]string{"server", "agent", "proxy", "kube-proxy"}, a) }) {
				return p, true
			}
		}
	}
	return process{}, false
}

// cpus is how many processors the machine has, as kube-proxy counts them.
func (s *search) cpus() (n int) {
	list := strings.TrimSpace(string(readSome(s.root.sys("devices/system/cpu/online"))))
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a > b {
			return runtime.NumCPU()
		}
		n += b - a + 1
	}
	return n
}

// runtimes run containers, any of which may write what is the machine's.
var runtimes = []string{"dockerd", "containerd", "crio", "podman"}

// containers are the programs that run containers: an opportunity, no evidence.
func containers(s *search) []Suspect {
	for _, name := range runtimes {
		if running := s.named(name); len(running) > 0 {
			return []Suspect{{name, running[0].of() + ": a privileged container may write it", false}}
		}
	}
	return nil
}
