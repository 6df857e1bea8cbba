// Package stat reads the counters that connection tracking keeps per CPU:
// lookups, refused inserts, drops, evictions. They belong to a network
// namespace and exist as soon as conntrack does, whether or not anything in the
// namespace hooks into it.
//
// The kernel's counters are 32 bits wide and wrap. Increments are therefore
// taken CPU by CPU, modulo 2³², and only then summed. That is right as long as
// no counter grows by 2³² between two readings.
//
// Rows carry no CPU number; the kernel gives one per possible CPU, in order
// (ct_cpu_seq_start asks cpu_possible), so taking a CPU offline does not remove
// its row. Should the number of rows change nevertheless, they can't be matched
// with the earlier ones: that reading counts as a first one, with all
// increments zero.
//
// The source is /proc/net/stat/nf_conntrack. Kernels built without
// CONFIG_NF_CONNTRACK_PROCFS don't have that file; there the same counters are
// asked for over netlink (ctnetlink_ct_stat_cpu_dump), which needs
// CAP_NET_ADMIN, allocates, and is slower.
package stat
