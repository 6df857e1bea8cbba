package rival

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A Module is one loading of nf_conntrack.
type Module struct {
	inode uint64
	ok    bool
}

// Loaded returns the module that is loaded at present. Remember it while the values
// are ours. It is a stat, of a few microseconds.
//
// The directory of a module in sysfs is made when it is loaded and has its inode's
// number for as long (kernfs_new_node); the time of that inode is only when it was last
// taken into memory (kernfs_init_inode), and says nothing.
func Loaded(r Root) Module {
	at, err := os.Stat(r.sys("module/nf_conntrack"))
	if err != nil {
		return Module{}
	}
	stat, ok := at.Sys().(*syscall.Stat_t)
	if !ok {
		return Module{}
	}
	return Module{inode: stat.Ino, ok: true}
}

// reloaded is that nf_conntrack was loaded anew: all its values are the kernel's own
// again, or what a file set since.
func reloaded(s *search) []Suspect {
	now := Loaded(s.root)
	if !s.root.Module.ok || !now.ok || now == s.root.Module {
		return nil
	}
	why := "which was unloaded and loaded anew since: its values are the kernel's defaults again"
	for _, d := range s.drifts {
		if !s.atDefault(d) {
			why = "which was unloaded and loaded anew since, and something has set its values after that"
		}
	}
	return []Suspect{{Name: "the module nf_conntrack", Why: why, Likely: true}}
}

// defaults are the kernel's timeouts by key, in seconds (nf_conntrack_proto_*.c).
var defaults = map[string]string{
	"tcp_timeout_syn_sent": "120", "tcp_timeout_syn_recv": "60", "tcp_timeout_established": "432000",
	"tcp_timeout_fin_wait": "120", "tcp_timeout_close_wait": "60", "tcp_timeout_last_ack": "30",
	"tcp_timeout_time_wait": "120", "tcp_timeout_close": "10", "tcp_timeout_unacknowledged": "300",
	"udp_timeout": "30", "udp_timeout_stream": "120", "icmp_timeout": "30", "icmpv6_timeout": "30",
	"gre_timeout": "30", "gre_timeout_stream": "180", "generic_timeout": "600",
}

// atDefault reports whether the value found may be the kernel's own. That of max is so
// many times the buckets, by the version of the kernel (nf_conntrack_init_start); the
// buckets are sized by memory, which is not worked out here.
func (s *search) atDefault(d drift) bool {
	switch d.key {
	case keyBuckets:
		return true
	case keyMax:
		buckets := s.value(keyBuckets)
		limit, err := strconv.Atoi(d.found)
		return err == nil && buckets > 0 && (limit == buckets || limit == 4*buckets || limit == 8*buckets)
	}
	return defaults[strings.TrimPrefix(d.key, prefix)] == d.found
}

// value is the present value of a sysctl that is a number, 0 if it can't be read.
func (s *search) value(key string) int {
	text := readSome(s.root.proc("sys/" + strings.ReplaceAll(key, ".", "/")))
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}
