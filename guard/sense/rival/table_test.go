package rival

import "testing"

func TestTableTaken(t *testing.T) {
	flushing := "#!/usr/sbin/nft -f\n\nflush ruleset\n\ntable inet filter {\n}\n"
	service := func(place string) []Suspect {
		return []Suspect{{"nftables.service", "which empties all tables when it is reloaded: " + place + " has flush ruleset", true}}
	}
	active := tree{"run/systemd/units/invocation:nftables.service": "-> 0123456789abcdef0123456789abcdef"}
	for name, x := range map[string]struct {
		files tree
		want  []Suspect
	}{
		"debian":   {active.with(tree{"etc/nftables.conf": flushing}), service("/etc/nftables.conf:3")},
		"fedora":   {active.with(tree{"etc/sysconfig/nftables.conf": "flush  ruleset"}), service("/etc/sysconfig/nftables.conf:1")},
		"included": {active.with(tree{"etc/nftables.d/10-x.nft": "define x = 1; flush ruleset;\n"}), service("/etc/nftables.d/10-x.nft:1")},
		"not active": {
			tree{"etc/nftables.conf": flushing}.with(runs("50", "firewalld", "/usr/sbin/firewalld")),
			[]Suspect{
				{"nftables.service", "which is not active, and would empty all tables: /etc/nftables.conf:3 has flush ruleset", false},
				{"firewalld", "process 50, which keeps tables of its own", false},
			},
		},
		"comment":    {tree{"etc/nftables.conf": "# flush ruleset\ntable inet filter {}\n"}, nil},
		"own table":  {tree{"etc/nftables.conf": "flush table inet filter\n"}, nil},
		"a script":   {runs("50", "sh", "sh", "-c", "while sleep 5; do nft flush ruleset; done"), []Suspect{{"sh", "process 50, which has flush ruleset in its command line", true}}},
		"nft":        {runs("50", "nft", "nft", "-f", "/etc/nftables.conf"), []Suspect{{"nft", "process 50, which runs at this moment", true}}},
		"firewalld":  {runs("50", "firewalld", "/usr/bin/python3", "-s", "/usr/sbin/firewalld", "--nofork"), []Suspect{{"firewalld", "process 50, which keeps tables of its own", false}}},
		"docker":     {runs("50", "dockerd", "/usr/bin/dockerd"), []Suspect{{"dockerd", "process 50, which keeps tables of its own", false}}},
		"kube-proxy": {runs("50", "kube-proxy", "kube-proxy"), []Suspect{{"kube-proxy", "process 50, which keeps tables of its own", false}}},
		"ufw":        {tree{"etc/ufw/ufw.conf": "# on\nENABLED=yes\nLOGLEVEL=low\n"}, []Suspect{{"ufw", "which is enabled and keeps tables of its own", false}}},
		"ufw off":    {tree{"etc/ufw/ufw.conf": "ENABLED=no\n"}, nil},
		// What sets sysctls is none of it.
		"sysctl": {tree{"etc/sysctl.d/90-x.conf": "net.netfilter.nf_conntrack_max = 100000\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"limit:10.0.0.5/32", "drop:2001:db8::/64@/run/netns/x", "bypass:dns"} {
				suspects(t, x.files, x.want, Drift{Key: key})
			}
		})
	}
}
