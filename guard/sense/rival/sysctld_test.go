package rival

import "testing"

const (
	anyFiles = "sysctl --system or systemd-sysctl"
	conf     = "sysctl --system"
	alone    = "sysctl -p"
)

func setBy(place string) string { return "by which " + place + " sets nf_conntrack_max to 100000" }

func TestSysctlFiles(t *testing.T) {
	line := "net.netfilter.nf_conntrack_max = 100000\n"
	for name, x := range map[string]struct {
		files tree
		want  []Suspect
	}{
		"one":            {tree{"etc/sysctl.d/90-x.conf": "# ours\n\n" + line}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/90-x.conf:3"), true}}},
		"of a package":   {tree{"usr/lib/sysctl.d/50-x.conf": line}, []Suspect{{anyFiles, setBy("/usr/lib/sysctl.d/50-x.conf:1"), true}}},
		"of this boot":   {tree{"run/sysctl.d/50-x.conf": line}, []Suspect{{anyFiles, setBy("/run/sysctl.d/50-x.conf:1"), true}}},
		"/etc/sysctl":    {tree{"etc/sysctl.conf": line}, []Suspect{{conf, setBy("/etc/sysctl.conf:1"), true}}},
		"other value":    {tree{"etc/sysctl.d/90-x.conf": "net.netfilter.nf_conntrack_max=100001\n"}, nil},
		"other key":      {tree{"etc/sysctl.d/90-x.conf": "net.netfilter.nf_conntrack_expect_max=100000\n"}, nil},
		"not a .conf":    {tree{"etc/sysctl.d/90-x.conf.dpkg-old": line, "etc/sysctl.d/README": line}, nil},
		"comments":       {tree{"etc/sysctl.d/90-x.conf": "#" + line + "; " + line}, nil},
		"slashes":        {tree{"etc/sysctl.d/90-x.conf": "net/netfilter/nf_conntrack_max=100000"}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/90-x.conf:1"), true}}},
		"old name":       {tree{"etc/sysctl.d/90-x.conf": "net.nf_conntrack_max=100000"}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/90-x.conf:1"), true}}},
		"may fail":       {tree{"etc/sysctl.d/90-x.conf": "-" + line}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/90-x.conf:1"), true}}},
		"hexadecimal":    {tree{"etc/sysctl.d/90-x.conf": "net.netfilter.nf_conntrack_max=0x186a0"}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/90-x.conf:1"), true}}},
		"glob":           {tree{"etc/sysctl.d/90-x.conf": "net.netfilter.nf_*_max = 100000"}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/90-x.conf:1"), true}}},
		"masked":         {tree{"etc/sysctl.d/50-x.conf": "-> /dev/null", "usr/lib/sysctl.d/50-x.conf": line}, nil},
		"replaced":       {tree{"etc/sysctl.d/50-x.conf": "", "run/sysctl.d/50-x.conf": line, "usr/lib/sysctl.d/50-x.conf": line}, nil},
		"overridden":     {tree{"etc/sysctl.d/50-x.conf": line, "usr/lib/sysctl.d/90-x.conf": "net.netfilter.nf_conntrack_max=5\n"}, []Suspect{{alone, setBy("/etc/sysctl.d/50-x.conf:1") + " where it is the only file", true}}},
		"last of two":    {tree{"etc/sysctl.d/50-x.conf": "net.netfilter.nf_conntrack_max=5\n" + line}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/50-x.conf:2"), true}}},
		"name over glob": {tree{"etc/sysctl.d/50-x.conf": line + "net.netfilter.nf_*_max = 5"}, []Suspect{{anyFiles, setBy("/etc/sysctl.d/50-x.conf:1"), true}}},
		"debian's link":  {tree{"etc/sysctl.conf": line, "etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf"}, []Suspect{{anyFiles, setBy("/etc/sysctl.conf:1"), true}}},
		"debian's link with the last word": {
			tree{"etc/sysctl.d/50-x.conf": line, "etc/sysctl.conf": "net.netfilter.nf_conntrack_max=5\n", "etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf"},
			[]Suspect{{alone, setBy("/etc/sysctl.d/50-x.conf:1") + " where it is the only file", true}},
		},
		"a link without": {
			tree{"etc/sysctl.d/50-x.conf": "net.netfilter.nf_conntrack_max=5\n", "etc/sysctl.conf": line, "etc/sysctl.d/20-x.conf": "-> ../sysctl.conf"},
			[]Suspect{{conf, setBy("/etc/sysctl.conf:1"), true}},
		},
		"only systemd": {
			tree{"etc/sysctl.d/50-x.conf": line, "etc/sysctl.conf": "net.netfilter.nf_conntrack_max=5\n"},
			[]Suspect{{"systemd-sysctl", setBy("/etc/sysctl.d/50-x.conf:1"), true}},
		},
		"a directory":       {tree{"etc/sysctl.d/90-x.conf/90-x.conf": line}, nil},
		"a strange name":    {tree{"etc/sysctl.d/9\x1b[31m\n.conf": line}, []Suspect{{anyFiles, setBy(`"/etc/sysctl.d/9\x1b[31m\n.conf":1`), true}}},
		"not text":          {tree{"etc/sysctl.d/90-x.conf": "\x00\xff=\n=\n===\n[[[=1"}, nil},
		"nothing":           {tree{}, nil},
		"ufw":               {tree{"etc/ufw/sysctl.conf": "net/netfilter/nf_conntrack_max=100000\n"}, []Suspect{{"ufw", setBy("/etc/ufw/sysctl.conf:1"), true}}},
		"ufw's other value": {tree{"etc/ufw/sysctl.conf": "net/netfilter/nf_conntrack_max=10000\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) { suspects(t, x.files, x.want, maxFound("100000")) })
	}
}

// Timeouts that were yielded at once are looked for at once.
func TestSysctlFilesOfSeveralValues(t *testing.T) {
	suspects(t, tree{"etc/sysctl.d/90-x.conf": `net.netfilter.nf_conntrack_udp_timeout = 60
net.netfilter.nf_conntrack_tcp_timeout_time_wait = 30
`}, []Suspect{
		{anyFiles, "by which /etc/sysctl.d/90-x.conf:1 sets nf_conntrack_udp_timeout to 60", true},
		{anyFiles, "by which /etc/sysctl.d/90-x.conf:2 sets nf_conntrack_tcp_timeout_time_wait to 30", true},
	},
		Drift{Key: "timeout:udp_timeout@/run/netns/x", Ours: "10", Found: "60"},
		Drift{Key: "timeout:tcp_timeout_time_wait", Ours: "10", Found: "30"},
		Drift{Key: "timeout:no-such", Ours: "10", Found: "30"},
		Drift{Key: "what", Ours: "10", Found: "30"},
	)
}

func TestScripts(t *testing.T) {
	for name, x := range map[string]struct {
		files tree
		want  []Suspect
	}{
		"rc.local": {
			tree{"etc/rc.local": "#!/bin/sh\necho 100000 > /proc/sys/net/netfilter/nf_conntrack_max\n"},
			[]Suspect{{"rc.local", "of which /etc/rc.local:2 has nf_conntrack_max and 100000", true}},
		},
		"cron": {
			tree{"etc/cron.d/tune": "* * * * * root sysctl -w net.netfilter.nf_conntrack_max=100000\n"},
			[]Suspect{{"tune", "of which /etc/cron.d/tune:1 has nf_conntrack_max and 100000", true}},
		},
		"a unit": {
			tree{"etc/systemd/system/tune.service": "[Service]\nExecStart=/sbin/sysctl -w net/netfilter/nf_conntrack_max=100000\n"},
			[]Suspect{{"tune.service", "of which /etc/systemd/system/tune.service:2 has nf_conntrack_max and 100000", true}},
		},
		"comment":     {tree{"etc/cron.d/tune": "# nf_conntrack_max=100000\n"}, nil},
		"other value": {tree{"etc/cron.d/tune": "nf_conntrack_max=1000000\n"}, nil},
		"longer key":  {tree{"etc/cron.d/tune": "nf_conntrack_max_x=100000\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) { suspects(t, x.files, x.want, maxFound("100000")) })
	}
	suspects(t, tree{"etc/modprobe.d/nf.conf": "options nf_conntrack hashsize=65536\n"},
		[]Suspect{{"nf.conf", "of which /etc/modprobe.d/nf.conf:1 has nf_conntrack_buckets and 65536", true}},
		Drift{Key: "sysctl:" + keyBuckets, Ours: "131072", Found: "65536"})
}
