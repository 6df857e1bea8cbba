package rival

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kubeFlags are what kube-proxy is told of conntrack, with its defaults
// (pkg/proxy/apis/config/v1alpha1/defaults.go). A limit per core of 0 leaves the limit
// alone, a timeout of 0 the timeout.
type kubeFlags struct {
	perCore, min           int
	established, closeWait time.Duration
	config                 bool // the rest is in a file, which overrides them
}

func defaultKubeFlags() kubeFlags {
	return kubeFlags{perCore: 32768, min: 131072, established: 24 * time.Hour, closeWait: time.Hour}
}

// kubeProxy is kube-proxy if it runs and writes one of the keys. It does so when it
// starts (cmd/kube-proxy/app/conntrack.go), the buckets where they are fewer than a
// quarter of the limit.
func kubeProxy(s *search) (all []Suspect) {
	p, flags, ok := s.kubeProcess()
	if !ok {
		return nil
	}
	for _, d := range s.drifts {
		want, writes := flags.writes(d.key, s.cpus())
		switch {
		case !writes:
		case d.reads(strconv.Itoa(want)):
			return []Suspect{{"kube-proxy", fmt.Sprintf("%s, which sets %s to %d when it starts", p.of(), d.short(), want), true}}
		default:
			all = []Suspect{{"kube-proxy", fmt.Sprintf("%s, which sets %s when it starts, to %d by its flags", p.of(), d.short(), want), false}}
			if flags.config {
				all[0].Why = fmt.Sprintf("%s, which sets %s when it starts, to what its configuration says", p.of(), d.short())
			}
		}
	}
	return all
}

// kubeProcess finds kube-proxy, also inside of those that have it built in.
func (s *search) kubeProcess() (p process, f kubeFlags, ok bool) {
	for _, p := range s.run() {
		builtIn := (p.is("k3s") || strings.HasPrefix(p.comm, "k3s-") || p.is("hyperkube")) &&
			slices.ContainsFunc(p.args, func(a string) bool { return slices.Contains([]string{"server", "agent", "proxy", "kube-proxy"}, a) })
		// What rewrites its title, as k3s does, has it all in one argument.
		builtIn = builtIn || p.comm == "k3s-server" || p.comm == "k3s-agent" || p.is("kubelite")
		if p.is("kube-proxy") || builtIn {
			return p, parseKubeFlags(p.args), true
		}
	}
	return process{}, kubeFlags{}, false
}

// parseKubeFlags reads what is said of conntrack; what is malformed would keep
// kube-proxy from running.
func parseKubeFlags(args []string) kubeFlags {
	f := defaultKubeFlags()
	for i, arg := range args {
		arg = strings.TrimPrefix(arg, "--kube-proxy-arg=")
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "conntrack-max-per-core":
			parseInto(&f.perCore, value, strconv.Atoi)
		case "conntrack-min":
			parseInto(&f.min, value, strconv.Atoi)
		case "conntrack-tcp-timeout-established":
			parseInto(&f.established, value, time.ParseDuration)
		case "conntrack-tcp-timeout-close-wait":
			parseInto(&f.closeWait, value, time.ParseDuration)
		case "config":
			f.config = true
		}
	}
	return f
}

func parseInto[T any](into *T, text string, parse func(string) (T, error)) {
	if v, err := parse(text); err == nil {
		*into = v
	}
}

// writes is what kube-proxy writes to a key.
func (f kubeFlags) writes(key string, cpus int) (value int, ok bool) {
	limit := max(f.perCore*cpus, f.min)
	switch key {
	case keyMax:
		return limit, f.perCore > 0
	case keyBuckets:
		return limit / 4, f.perCore > 0
	case keyEstablished:
		return int(f.established / time.Second), f.established > 0
	case keyCloseWait:
		return int(f.closeWait / time.Second), f.closeWait > 0
	}
	return 0, false
}

// cpus is how many processors the machine has, as kube-proxy counts them.
func (s *search) cpus() (n int) {
	list := strings.TrimSpace(string(readSome(s.root.sys("devices/system/cpu/online"))))
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		if err != nil {
			return runtime.NumCPU()
		}
		b := a
		if ranged {
			parseInto(&b, last, strconv.Atoi)
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
